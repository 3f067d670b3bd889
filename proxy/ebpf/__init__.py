"""Media in the kernel: a program of eBPF for the packets of settled streams, its tables, and the system call that both
need."""
