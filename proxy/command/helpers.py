"""`pinhole show`: the session-helper table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from proxy.command.client import looked_at
from proxy.command.columns import wrapped
from proxy.command.options import with_json, with_served_config
from proxy.command.terminal import cell, print_json, print_line, print_rows, width
from proxy.errors import PinholeError
from proxy.text import printable


@click.group()
def show() -> None:
    """Show what is configured."""


@show.command("session-helper")
@click.argument("number", metavar="[ID]", type=int, required=False)
@with_served_config
@with_json
@click.option("--format", "form", type=click.Choice(["table", "fortios"]), default="table", show_default=True)
@click.option("--options", "with_options", is_flag=True, help="Also what each helper lets a policy choose.")
def session_helper(number: int | None, path: str | None, as_json: bool, form: str, with_options: bool) -> None:
    """Print the session-helper table in force, or one entry of it, and which options the policies set; with the whole
    table also the protocols that others have helpers for and that are not taken over.

    Where no file is named and the system has none, it is the table of the file of the daemon that runs.
    """
    from proxy.command import fortios_table, helper_table
    from proxy.config import reading

    if as_json and form == "fortios":
        raise click.UsageError("--json and --format fortios exclude each other")
    settings = reading.in_force(looked_at(path))
    shown = [entry for entry in settings.helpers if number in (None, entry.id)]
    if number is not None and not shown:
        raise PinholeError(f"the session-helper table of {settings.source} has no entry {number}")
    names = {entry.name for entry in shown}
    helpers = [helper for helper in helper_table.helpers() if number is None or helper["name"] in names]
    chosen = [one for one in helper_table.chosen(settings.policies) if one["helper"] in names]
    if as_json:
        table = helper_table.entries(shown)
        document = {"source": settings.source, "session_helpers": table, "helpers": helpers, "options_set": chosen}
        print_json(document | ({"not_taken_over": helper_table.not_taken_over()} if number is None else {}))
    elif form == "fortios":
        click.echo(fortios_table.text(shown, settings.helpers))
    else:
        columns = ("id", "name", "protocol", "port", *(["off"] if not all(entry.enabled for entry in shown) else []))
        print_rows(helper_table.entries(shown), columns)
        click.echo()
        print_rows(chosen, empty="No policy sets an option: those of all helpers have their defaults (--options).")
        if number is None:
            click.echo()
            _print_wrapped("Not taken over; sessions of these are left to the forward policy:", 0)
            for row in helper_table.not_taken_over():
                _print_item(f"{row['name']} ({row['port']}/{row['protocol']}): {row['why']}")
        if with_options:
            _print_options(helpers)


def _print_options(helpers: Sequence[dict[str, Any]]) -> None:
    """Print the helpers that exist, and for each of their options what it decides."""
    for helper in helpers:
        ports = ", ".join(f"{port['port']}/{port['protocol']}" for port in helper["ports"])
        click.echo()
        _print_wrapped(f"{helper['name']}: {helper['summary']} (usually {ports})", 0)
        for option in helper["options"]:
            click.echo()
            _print_wrapped(f"{option['name']}: {option['type']}; default {cell('', option['default'])}", 2)
            _print_wrapped(option["description"], 6)


def _print_item(text: str) -> None:
    """One of a list: its first line begins further out than those below."""
    first, *more = wrapped(printable(text), width(), 4)
    for line in (first[2:], *more):
        print_line(line)


def _print_wrapped(text: str, indent: int) -> None:
    for line in wrapped(printable(text), width(), indent):
        print_line(line)
