"""`pinhole show`: the session-helper table."""

from __future__ import annotations

from typing import Any

import click

from proxy.command.options import with_config, with_json
from proxy.command.terminal import print_json, print_rows
from proxy.errors import PinholeError


@click.group()
def show() -> None:
    """Show what is configured."""


@show.command("session-helper")
@click.argument("number", metavar="[ID]", type=int, required=False)
@with_config
@with_json
@click.option("--format", "form", type=click.Choice(["table", "fortios"]), default="table", show_default=True)
def session_helper(number: int | None, path: str | None, as_json: bool, form: str) -> None:
    """Print the session-helper table in force, or one entry of it, and the helpers that exist."""
    from proxy.command import helper_table
    from proxy.config import reading

    if as_json and form == "fortios":
        raise click.UsageError("--json and --format fortios exclude each other")
    settings = reading.in_force(path)
    shown = [entry for entry in settings.helpers if number in (None, entry.id)]
    if number is not None and not shown:
        raise PinholeError(f"the session-helper table of {settings.source} has no entry {number}")
    names = {entry.name for entry in shown}
    helpers = [helper for helper in helper_table.helpers() if number is None or helper["name"] in names]
    if as_json:
        print_json({"source": settings.source, "session_helpers": helper_table.entries(shown), "helpers": helpers})
    elif form == "fortios":
        click.echo(helper_table.fortios(shown, settings.helpers))
    else:
        columns = ("id", "name", "protocol", "port", *(["off"] if not all(entry.enabled for entry in shown) else []))
        print_rows(helper_table.entries(shown), columns, title=f"Session helpers ({settings.source})")
        click.echo()
        _print_helpers(helpers)


def _print_helpers(helpers: list[dict[str, Any]]) -> None:
    """Print the helpers that exist, and their options."""
    for helper in helpers:
        ports = ", ".join(f"{port['port']}/{port['protocol']}" for port in helper["ports"])
        click.echo(f"{helper['name']}: {helper['summary']} (usually {ports})")
    click.echo()
    rows = [
        {"helper": helper["name"], "option": option["name"], **{key: option[key] for key in ("type", "default")}}
        | {"description": option["description"]}
        for helper in helpers
        for option in helper["options"]
    ]
    print_rows(rows, title="Options", empty="no options")
