"""What carries bytes that no engine reads: spliced relays of TCP, and lanes of datagrams."""
