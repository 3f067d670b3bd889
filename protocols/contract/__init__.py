"""What an engine and its driver say to each other: addresses, effects, pinholes, and the engine itself."""
