"""Protocol engines: pure functions of bytes and time. `HELPERS` is the registry, one line per helper."""
