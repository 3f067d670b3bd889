"""Commands that have the daemon do something."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from proxy.command.client import ask_daemon
from proxy.command.options import with_config, with_json
from proxy.command.terminal import print_json, say
from proxy.text import printable

SHOWN_ENDS = 20
"""How many sessions that end are printed; --json has up to a thousand."""


@click.command()
@with_config
@click.option("--dry-run", is_flag=True, help="Only tell what it would change and end.")
@with_json
def reload(path: str | None, dry_run: bool, as_json: bool) -> None:
    """Have the daemon read its configuration again.

    What has changed is printed key by key, with the sessions that end by it. A wrong configuration changes nothing; its
    problems are printed.
    """
    answer = ask_daemon(path, "POST", "v1/reload", {"dry_run": "true"} if dry_run else None)
    if as_json:
        print_json(answer)
    else:
        for text in (*answer["problems"], *answer["warnings"], *answer["remarks"]):
            say(str(text))
        for line in _lines(answer):
            click.echo(printable(line))
    sys.exit(0 if answer["ok"] else 1)


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """What a reload does, or would do."""
    if answer["ok"]:
        what = "this would be reloaded" if answer["dry_run"] else "reloaded"
        yield what if answer["changes"] else f"{what}; nothing is otherwise"
    yield from (f"  {change['key']}: {_otherwise(change)}" for change in answer["changes"])
    for end in answer["ends"][:SHOWN_ENDS]:
        calls = f", with {end['calls']} call{'s' if end['calls'] > 1 else ''}" if end["calls"] else ""
        verb = "would end" if answer["dry_run"] else "ended"
        yield f"  {verb}: {end['id']}, {end['helper']} {end['client']} -> {end['server']}: {end['reason']}{calls}"
    if (more := answer["ends_total"] - SHOWN_ENDS) > 0:
        yield f"  and {more} more sessions"


def _otherwise(change: Mapping[str, Any]) -> str:
    """The values before and after, in one line."""
    before, after = change["before"], change["after"]
    if isinstance(before, dict) and after is None:
        return "removed"
    if before is None and isinstance(after, dict):
        return f"added: {_short(after)}"
    return f"{_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    """A value of JSON as a file writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_short(each)}' for key, each in value.items())}}}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
