"""The only room that knows the kernel's sockets."""
