"""`python -m proxy` is the command `pinhole`."""

from proxy.command.cli import main

main(prog_name="pinhole")
