"""The daemon: how it is built, run, reloaded and taken down, and what it answers on its control socket."""
