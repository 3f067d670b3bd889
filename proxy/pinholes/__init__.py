"""What is open, to which peers and how long: for connections, for flows of datagrams, for media."""
