"""`python -m proxy` is the command `pinhole`."""

from proxy.cli import main

main(prog_name="pinhole")
