"""FTP (RFC 959, 2428, 4217): control sessions, and the data connections that they agree on."""
