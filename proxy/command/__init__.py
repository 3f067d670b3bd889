"""The command `pinhole`: what it reads, asks and prints."""
