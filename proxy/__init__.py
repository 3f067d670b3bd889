"""Everything that touches the system: sockets, timers, configuration, logs, firewall rules."""
