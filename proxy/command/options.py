"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from proxy.config.whereabouts import SYSTEM_PATH

if TYPE_CHECKING:
    from proxy.host.rules import Backend

Command = TypeVar("Command", bound=Callable[..., Any])


def with_config(command: Command) -> Command:
    """Add the option `--config`."""
    where = f"Configuration file. Without: {SYSTEM_PATH} if it exists, else the built-in default."
    return click.option("-c", "--config", "path", metavar="FILE", type=click.Path(), help=where)(command)


def with_served_config(command: Command) -> Command:
    """Add the option `--config` of a command that looks by the file of the daemon that runs (`client.looked_at`)."""
    where = (
        f"Configuration file. Without: {SYSTEM_PATH} if it exists, else that of the daemon that runs, else the "
        "built-in default."
    )
    return click.option("-c", "--config", "path", metavar="FILE", type=click.Path(), help=where)(command)


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


def with_watch(command: Command) -> Command:
    """Add the option `--watch`, which gives `seconds`."""
    return click.option(
        "--watch",
        "seconds",
        type=click.FloatRange(min=0.1),
        is_flag=False,
        flag_value=2.0,
        default=None,
        metavar="[SECONDS]",
        help="Show it anew each so many seconds (2), until interrupted.",
    )(command)


FILTERS: Mapping[str, str] = {
    "helper": "NAME",
    "client": "ADDRESS",
    "server": "ADDRESS",
    "address": "ADDRESS",
    "policy": "NAME",
    "state": "STATE",
    "older": "TIME",
    "younger": "TIME",
    "text": "TEXT",
    "limit": "NUMBER",
}
_OF_SOME: Mapping[str, str] = {
    "event": "NAME",
    "reason": "WORD",
    "rule": "NAME",
    "session": "ID",
    "pinhole": "ID",
    "call_id": "CALL-ID",
}
"""The filters of lists, and what each takes. The daemon reads them: an address may have a port or be a network, a time
may be 90, 3m, 2h or 1d, and all but times and numbers may begin with `!`, which leaves out what they name."""

_SAYS: Mapping[str, str] = {
    "address": "Only with this address in any place.",
    "older": "Only what has been there for longer, as 90, 3m, 2h or 1d.",
    "younger": "Only what has been there for less.",
    "text": "Only with this text in any place.",
    "limit": "At most so many.",
}


def with_filters(names: Sequence[str]) -> Callable[[Command], Command]:
    """Add the options of these filters. They give `query`, with those that were used."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def collected(**values: Any) -> Any:
            given = {name: values.pop(f"filter_{name}") for name in names}
            return command(query={name: value for name, value in given.items() if value is not None}, **values)

        for name in reversed(names):
            takes = FILTERS.get(name) or _OF_SOME[name]
            says = _SAYS.get(name, f"Only of this {name}; !{takes}: of all others.")
            option = click.option(f"--{name.replace('_', '-')}", f"filter_{name}", metavar=takes, help=says)
            option(collected)
        return cast(Command, collected)

    return decorate


def with_backend(command: Command) -> Command:
    """Add the option `--backend`. Its last resort is the backend whose rules are set up, since rules of both backends
    at once are in each other's way."""
    choice = click.Choice(["nft", "iptables"])
    text = (
        "Whose rules. Without: `network: backend` of the configuration, else those that stand; nft, if none do "
        "(iptables, where there is no nft)."
    )
    return click.option("--backend", type=choice, default=None, help=text)(command)


def named_backend(name: str | None) -> Backend | None:
    """The backend of this name, if one is named."""
    from proxy.host.rules import Backend

    return None if name is None else Backend(name)
