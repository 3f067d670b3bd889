"""A lab to play in: `python -m tools.lab up` in one terminal, `python -m tools.lab shell client` in others."""

from __future__ import annotations

import os
import signal
import sys
from typing import Literal, get_args

import click

from tools.lab import janitor, lab


def _only_one() -> str:
    labs = list(lab.standing())
    if not labs:
        raise click.ClickException("no lab stands; `python -m tools.lab up` makes one")
    if len(labs) > 1:
        raise click.UsageError(f"several labs stand, name one: --lab {' | '.join(labs)}")
    return labs[0]


@click.group(help=__doc__)
def main() -> None:
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")


@main.command()
@click.option("--routes", type=click.Choice(["nat", "routed"]), default="nat", show_default=True)
@click.option("--addresses", type=click.Choice(get_args(lab.Addresses)), default="documentation", show_default=True)
@click.option("--wide", is_flag=True, help="With a second network inside, and a host farther outside.")
@click.option("--lock-down", is_flag=True, help="The gateway drops everything that no rule of yours accepts.")
def up(routes: Literal["nat", "routed"], addresses: lab.Addresses, wide: bool, lock_down: bool) -> None:
    """Make a lab; it stands until this command is ended (^C, or however)."""
    with lab.Lab(routes, addresses, wide) as made:
        if lock_down:
            made.lock_down()
        for name, host in made.hosts.items():
            click.echo(f"{name:16} {lab.addresses(host)}")
        click.echo(f"{made.name} stands until ^C. In another terminal: python -m tools.lab shell HOST", err=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


@main.command()
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--lab", "name", metavar="LAB", help="Which one, when several stand.")
def shell(host: str, command: tuple[str, ...], name: str | None) -> None:
    """Be on a host: a shell, or a command (after `--`)."""
    name = name or _only_one()
    hosts = [netns.removeprefix(f"{name}-") for netns in lab.standing().get(name, [])]
    if host not in hosts:
        raise click.UsageError(f"{name} has {', '.join(hosts) or 'no host: it does not stand'}; not {host}")
    words = command or (os.environ.get("SHELL", "/bin/bash"),)
    environment = os.environ | {"debian_chroot": host}  # Debian's prompt shows it
    os.execvpe("ip", ("ip", "netns", "exec", f"{name}-{host}", *words), environment)


@main.command("list")
def list_labs() -> None:
    """The labs that stand, and whether their creator still lives."""
    for name, namespaces in lab.standing().items():
        state = f"made by process {lab.creator(name)}" if lab.has_creator(name) else "left over"
        click.echo(f"{name}: {state}, {len(janitor.processes_in(namespaces))} processes")


@main.command()
@click.argument("names", metavar="[LAB]...", nargs=-1)
def down(names: tuple[str, ...]) -> None:
    """Remove labs: those named, or else those whose creator is gone."""
    labs = lab.standing()
    unknown = [name for name in names if name not in labs]
    if unknown:
        raise click.UsageError(f"no such lab: {', '.join(unknown)}")
    left = []
    for name in names or [name for name in labs if not lab.has_creator(name)]:
        left += janitor.tear_down(labs[name], spare=(lab.creator(name),))
        click.echo(f"{name}: removed")
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main(prog_name="python -m tools.lab")
