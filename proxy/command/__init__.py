"""The command `pinhole`: what it reads, what it asks the daemon, and what it prints."""
