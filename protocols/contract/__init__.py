"""What an engine and what drives it say to each other: addresses, effects, pinholes, and the engine itself."""
