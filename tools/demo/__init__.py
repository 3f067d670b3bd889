"""pinhole at work between real clients and servers of every helper."""
