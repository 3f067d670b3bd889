"""RSH and rexec: commands on another host. engine.py has the sessions, wire.py reads what is said before a command."""
