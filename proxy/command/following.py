"""Commands that go on until they are interrupted: `pinhole events -f` and `pinhole trace`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from proxy.command.client import Query, follow
from proxy.command.options import with_config, with_filters, with_json
from proxy.command.terminal import print_line, say, width
from proxy.errors import PinholeError
from proxy.text import printable_json

Row = Mapping[str, Any]

_OF_EVENTS = (
    "event", "helper", "client", "server", "address", "policy", "session", "pinhole", "call_id", "reason", "rule",
    "text",
)  # fmt: skip


@click.command()
@click.option(
    "-f", "--follow", is_flag=True, expose_value=False, help="Go on until interrupted, as it does in any case."
)
@with_config
@with_json
@with_filters(_OF_EVENTS)
def events(path: str | None, as_json: bool, query: Query) -> None:
    """Show the lines of the audit log as they are written, wherever it goes to.

    A word that ends in `*` stands for all that begin so: `--event 'call.*'`. With --json each line is as the log has
    it.
    """
    _follow(path, "v1/events", query, _print_raw if as_json else _print_event)


@click.command()
@with_config
@with_json
@with_filters(("client", "server", "address", "helper", "policy"))
def trace(path: str | None, as_json: bool, query: Query) -> None:
    """Show the messages of sessions as they pass: as a side has sent each, and as it goes on.

    Passwords, answers to challenges and keys of media are removed. Name a caller by --client, or else the messages of
    all sessions are shown. With --json each message is an object in a line.
    """
    _follow(path, "v1/trace", query, _print_raw if as_json else _print_message)


def _follow(path: str | None, name: str, query: Query, show: Callable[[Row], None]) -> None:
    """Show each thing that the daemon tells of until interrupted. Raises PinholeError when the daemon ends."""
    with contextlib.suppress(KeyboardInterrupt):
        for kind, data in follow(path, name, query):
            match kind:
                case "begun":
                    say("(^C ends it)")
                case "alive":
                    pass
                case "missed":
                    say(f"({json.loads(data)['missed']} lines are not shown: they came faster than they could be)")
                case _:
                    show(json.loads(data))
                    sys.stdout.flush()
        raise PinholeError("the daemon has ended")


def _print_event(row: Row) -> None:
    from proxy.record.console import render

    is_terminal = sys.stdout.isatty()
    click.echo(render(row, is_terminal and not os.environ.get("NO_COLOR"), width() if is_terminal else None))


def _print_raw(row: Row) -> None:
    click.echo(printable_json(json.dumps(row, ensure_ascii=False)))


def _print_message(row: Row) -> None:
    for text in lines(row):
        print_line(text)


def lines(row: Row) -> Iterator[str]:
    """A message for people: who sent it to whom, then its text, and an empty line."""
    if row.get("missed"):
        yield f"({row['missed']} messages are not shown: they came faster than they could be)"
    way = "<-" if row["step"] == "came" else "->"
    yield f"{row['time'][:23]}Z  {way} {row['helper']} {row['session']}  {row['source']} > {row['target']}"
    yield from (f"    {text}" for text in row["text"].splitlines())
    yield ""
