"""`pinhole run`: the daemon."""

from __future__ import annotations

import sys

import click

from proxy.command.options import named_backend, with_backend, with_config


@click.command()
@with_config
@click.option("--net", is_flag=True, help="Also set up firewall rules and routes, and remove them at the end.")
@with_backend
def run(path: str | None, net: bool, backend: str | None) -> None:
    """Serve until told to stop.

    SIGTERM ends it when transfers are done, SIGHUP reads the configuration again, SIGUSR1 reopens the audit log.
    """
    from proxy.daemon import starting

    sys.exit(starting.run(path, net, named_backend(backend)))
