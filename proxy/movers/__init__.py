"""What carries bytes that nobody reads: spliced relays of TCP, and lanes of datagrams."""
