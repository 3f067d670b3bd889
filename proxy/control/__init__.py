"""The control socket: what operators and programs see of the daemon, and what they may change."""
