"""`pinhole helper`: live switches. The configuration stays as it is, and a restart of the daemon takes them back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from proxy.command.client import ask_daemon
from proxy.command.options import Command, with_config, with_json
from proxy.command.terminal import duration, print_json, print_line, print_rows


@click.group()
def helper() -> None:
    """Turn a helper off, or have it only observe, while the daemon runs: for one client or for all, for a time or until
    a restart."""


def _with_client(command: Command) -> Command:
    says = "Only for this client, or network of clients."
    return click.option("--client", metavar="ADDRESS", help=says)(command)


def _thrown(mode: str, says: str) -> click.Command:
    """The command that throws a switch."""

    @click.argument("name", metavar="NAME")
    @_with_client
    @click.option("--for", "seconds", metavar="TIME", help="For so long, as 90, 10m or 2h. Without: until a restart.")
    @with_config
    @with_json
    def command(name: str, client: str | None, seconds: str | None, path: str | None, as_json: bool) -> None:
        asked = {"helper": name, "mode": mode, "client": client, "for": seconds}
        query = {key: value for key, value in asked.items() if value is not None}
        row = ask_daemon(path, "POST", "v1/switches", query)
        if as_json:
            print_json(row)
        else:
            print_line(in_words(row))

    made: Callable[..., Any] = command
    return helper.command(mode, help=says)(made)


off = _thrown(
    "off", "Let sessions of a helper pass unread, as if it were not there. Sessions that stand go on as they are."
)
observe = _thrown(
    "observe", "Have a helper change, open and refuse nothing, and say in the log what it would have done."
)


@helper.command()
@click.argument("name", metavar="NAME")
@_with_client
@with_config
@with_json
def on(name: str, client: str | None, path: str | None, as_json: bool) -> None:
    """Take a switch back, so that the helper works as it is configured."""
    query = {"helper": name} | ({"client": client} if client is not None else {})
    row = ask_daemon(path, "DELETE", "v1/switches", query)
    if as_json:
        print_json(row)
    else:
        print_line(f"{row['helper']} works as it is configured again, clients: {row['client']}")


@helper.command("list")
@with_config
@with_json
def listed(path: str | None, as_json: bool) -> None:
    """List the helpers, and the switches that are thrown."""
    helpers = ask_daemon(path, "GET", "v1/helpers").get("helpers", [])
    thrown = ask_daemon(path, "GET", "v1/switches").get("switches", [])
    if as_json:
        print_json({"helpers": helpers, "switches": thrown})
        return
    print_rows(helpers, ("helper", "state", "sessions", "pinholes", "ports"), empty="no helpers")
    click.echo()
    print_rows(thrown, empty="no switch is thrown", wrong=lambda _: True)


def in_words(row: dict[str, Any]) -> str:
    """What a switch does."""
    ends = row.get("expires_seconds")
    lasts = "until a restart" if ends is None else f"for {duration(math.ceil(ends))}"
    return f"{row['helper']} {row['mode']}, clients: {row['client']}, {lasts}"
