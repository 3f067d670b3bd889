"""Finds what is wrong with the host that a gateway runs on, by facts and by walking packets through its rules."""
