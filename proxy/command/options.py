"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from proxy.config.whereabouts import SYSTEM_PATH

if TYPE_CHECKING:
    from proxy.host.rules import Backend

Command = TypeVar("Command", bound=Callable[..., Any])


def with_config(command: Command) -> Command:
    """Add the option `--config`."""
    where = f"Configuration file. Without: {SYSTEM_PATH} if it exists, else the built-in default."
    return click.option("-c", "--config", "path", metavar="FILE", help=where)(command)


def with_json(command: Command) -> Command:
    """Add the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="For programs.")(command)


def with_wide(command: Command) -> Command:
    """Add the option `-o wide`, which gives `is_wide`."""
    text = "wide: all columns, each row in one line. Without: what fits 80 columns; a long row takes a second line."
    choice = click.Choice(["wide"])
    return click.option("-o", "is_wide", type=choice, callback=lambda _, __, value: value is not None, help=text)(
        command
    )


def with_backend(command: Command) -> Command:
    """Add the option `--backend` with nft as its default."""
    choice = click.Choice(["nft", "iptables"])
    return click.option("--backend", type=choice, default="nft", show_default=True, help="Whose rules.")(command)


def with_backend_that_stands(command: Command) -> Command:
    """Add the option `--backend`. Its default is the backend whose rules are set up, since rules of both backends at
    once are in each other's way."""
    choice = click.Choice(["nft", "iptables"])
    text = "Whose rules. Without: those that stand; nft, if none do (iptables, where there is no nft)."
    return click.option("--backend", type=choice, default=None, help=text)(command)


def backend_of(name: str | None) -> Backend:
    """The backend of this name. None: the one whose rules are set up."""
    from proxy.host import net
    from proxy.host.rules import Backend

    return net.standing() if name is None else Backend(name)
