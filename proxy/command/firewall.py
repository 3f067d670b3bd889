"""`pinhole net`: firewall rules and routes of this host."""

from __future__ import annotations

import sys

import click

from proxy.command.options import backend_of, with_backend, with_backend_that_stands, with_config, with_json
from proxy.command.terminal import print_json, print_rows, say


@click.group()
def net() -> None:
    """Firewall rules and routes that bring sessions to the daemon. Nothing but our own is ever touched."""


@net.command()
@with_config
@with_backend
def plan(path: str | None, backend: str) -> None:
    """Print what `up` would do, as a shell script."""
    from proxy.config import reading
    from proxy.host import rules

    click.echo(rules.plan(reading.in_force(path), backend_of(backend)), nl=False)


@net.command()
@with_config
@with_backend_that_stands
def up(path: str | None, backend: str | None) -> None:
    """Set rules and routes up, in place of what an earlier `up` left."""
    from proxy.config import reading
    from proxy.host import net

    net.up(reading.in_force(path), backend_of(backend), say)


@net.command()
@click.option("-c", "--config", "path", metavar="FILE", help="Not read: what stands is removed, whoever configured it.")
@with_backend_that_stands
def down(path: str | None, backend: str | None) -> None:
    """Remove our rules and routes; without --backend those of both."""
    from proxy.config import reading
    from proxy.host import net

    for one in [backend_of(backend)] if backend else net.all_standing() or [backend_of(None)]:
        net.down(reading.default(), one, say)


@net.command()
@with_config
@with_backend_that_stands
@with_json
def status(path: str | None, backend: str | None, as_json: bool) -> None:
    """Say which parts of the set-up stand. Exit status 1 unless all do."""
    from proxy.config import reading
    from proxy.host import net

    settings = reading.in_force(path)
    parts = [part._asdict() for part in (*net.status(settings, backend_of(backend)), *net.overtaking(settings))]
    is_up = all(part["present"] for part in parts)
    if as_json:
        print_json({"up": is_up, "parts": parts})
    else:
        print_rows(parts, wrong=lambda part: not part["present"])
    sys.exit(0 if is_up else 1)
