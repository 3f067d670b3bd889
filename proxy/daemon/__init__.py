"""The daemon: built, run, reloaded and taken down; and whom it answers."""
