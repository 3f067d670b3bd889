"""`pinhole fastpath`: the process that holds the kernel path of media."""

from __future__ import annotations

import sys

import click

from proxy.command.options import with_config


@click.command()
@with_config
@click.option(
    "--order",
    type=click.Choice(["first", "last"]),
    default="last",
    show_default=True,
    help="Where our program stands among those of others at an interface.",
)
def fastpath(path: str | None, order: str) -> None:
    """Hold the kernel path: attach the program that passes media in the kernel to the interfaces, for a daemon that may
    not. Needs CAP_BPF and CAP_NET_ADMIN, and gives up all other rights.

    SIGTERM ends it. What a daemon has by it goes on as long as that daemon lives, where the kernel is Linux 6.6 or
    later; before, media passes in user space then.
    """
    from proxy.config import reading
    from proxy.holder import process
    from proxy.holder.links import Order
    from proxy.host import privileges

    settings = reading.in_force(path)
    sys.exit(process.run(process.of_config(settings, privileges.user(settings.user).uid), Order(order)))
