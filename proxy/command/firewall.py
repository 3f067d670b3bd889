"""`pinhole net`: firewall rules and routes of this host."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click

from proxy.command.client import looked_at
from proxy.command.options import named_backend, with_backend, with_config, with_json, with_served_config
from proxy.command.terminal import print_json, print_rows, say
from proxy.config import whereabouts


@click.group()
def net() -> None:
    """Firewall rules and routes that bring sessions to the daemon. Nothing but our own is ever touched."""


@contextlib.contextmanager
def _steps(as_json: bool) -> Iterator[Callable[[str], None]]:
    """What is told of each step that is done: people read it as it is done, programs at the end."""
    told: list[str] = []
    yield told.append if as_json else say
    if as_json:
        print_json({"steps": told})


@net.command()
@with_config
@with_backend
@with_json
def plan(path: str | None, backend: str | None, as_json: bool) -> None:
    """Print what `up` would do, as a shell script."""
    from proxy.config import reading
    from proxy.host import net, rules

    settings = reading.in_force(path)
    chosen = net.chosen(settings, named_backend(backend))
    script = rules.plan(settings, chosen)
    if as_json:
        print_json({"backend": chosen.value, "script": script})
    else:
        click.echo(script, nl=False)


@net.command()
@with_config
@with_backend
@with_json
def up(path: str | None, backend: str | None, as_json: bool) -> None:
    """Set rules and routes up, in place of what an earlier `up` left."""
    from proxy.config import reading
    from proxy.host import link, net

    settings = reading.in_force(path)
    chosen = net.chosen(settings, named_backend(backend))
    link.agree_on(chosen.value)
    with _steps(as_json) as tell:
        net.up(settings, chosen, tell)


@net.command()
@click.option("-c", "--config", "path", metavar="FILE", help="Not read: what stands is removed, whoever configured it.")
@click.option("--backend", type=click.Choice(["nft", "iptables"]), help="Whose rules. Without: those of both.")
@with_json
def down(path: str | None, backend: str | None, as_json: bool) -> None:
    """Remove our rules and routes. A guard that is at work lets them go."""
    from proxy.host import net
    from proxy.host.link import let_go

    net.require_admin()
    with _steps(as_json) as tell:
        let_go(tell)
        named = named_backend(backend)
        if named is None:
            net.clear(tell)
        else:
            net.down(named, tell)


@net.command()
@with_served_config
@with_backend
@with_json
def status(path: str | None, backend: str | None, as_json: bool) -> None:
    """Say which parts of the set-up stand. Exit status 1 unless all do.

    Where no file is named and the system has none, it is that of the daemon that runs.
    """
    from proxy.config import reading
    from proxy.host import net

    file = looked_at(path)
    settings = reading.in_force(file)
    chosen = net.chosen(settings, named_backend(backend))
    found = (*net.status(settings, chosen), *net.beside(chosen), *net.overtaking(settings))
    parts = [part._replace(detail=whereabouts.told(file, part.detail))._asdict() for part in found]
    is_up = all(part["present"] for part in parts)
    if as_json:
        print_json({"up": is_up, "parts": parts})
    else:
        print_rows(parts, wrong=lambda part: not part["present"])
    sys.exit(0 if is_up else 1)


@net.command()
@with_config
@with_backend
def guard(path: str | None, backend: str | None) -> None:
    """Keep rules and routes up: set them up, and again whenever somebody else takes them away. Needs root's rights;
    the daemon does not.

    SIGTERM ends it and leaves them as they are; `pinhole net down` removes them. SIGHUP sets up what the configuration
    says now; the daemon has it do so at each reload.
    """
    from proxy.host import guard

    sys.exit(guard.run(path, named_backend(backend)))
