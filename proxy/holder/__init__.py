"""The process that has the rights which media in the kernel takes, and the daemon's side of it."""
