"""What is wrong with the host that a gateway runs on, found by facts and by walking packets through its rules."""
