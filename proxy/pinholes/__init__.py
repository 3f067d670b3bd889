"""What is open, for whom and how long: for connections, for flows of datagrams, for media."""
