"""What an engine and what drives it say to each other."""
