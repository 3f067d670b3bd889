"""`pinhole status`: how the daemon is, trouble first."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from proxy.command.client import ask_daemon
from proxy.command.options import with_config, with_json, with_watch
from proxy.command.terminal import print_fields, print_json
from proxy.command.watching import watch
from proxy.errors import PinholeError

Row = Mapping[str, Any]

_TROUBLE = ("rules_missing", "rules_in_doubt", "audit_failing", "audit_lines_lost")
"""Fields that are trouble unless they are empty, 0 or no."""
_NEAR_PERCENT = 80.0
"""From here on a limit is near its end."""


@click.command()
@with_config
@with_json
@with_watch
def status(path: str | None, as_json: bool, seconds: float | None) -> None:
    """Say how the daemon is.

    What is wrong comes first, then switches that were thrown and limits that are near their end. The exit status is 1
    when no daemon runs, or when rules or routes are missing that it needs.
    """
    answer: dict[str, Any] = {}

    def show() -> None:
        answer.update(ask_daemon(path, "GET", "status"))
        if as_json:
            print_json(answer)
        else:
            first = trouble(answer)
            rest = {name: value for name, value in answer.items() if name not in first}
            if answer.get("switches"):
                first["switches"] = answer["switches"]
            first |= near_their_end(_rows(path, "limits"))
            print_fields(first | rest, lambda name: name in first and (name != "state" or is_degraded(answer)))

    watch(show, seconds)
    sys.exit(1 if is_degraded(answer) else 0)


def is_degraded(answer: Row) -> bool:
    """Whether something is missing that the daemon needs."""
    return answer.get("state") == "degraded"


def trouble(answer: Row) -> dict[str, Any]:
    """The state, and what is wrong."""
    return {name: answer.get(name) for name in ("state", *_TROUBLE) if name == "state" or answer.get(name)}


def near_their_end(limits: Sequence[Row]) -> dict[str, Any]:
    """The limits of which little is left."""
    near = [
        f"{row['limit']} {row['used']} of {row['most']}" + (f" (by {row['by']})" if row.get("by") else "")
        for row in limits
        if row["used_percent"] >= _NEAR_PERCENT
    ]
    return {"near the limit": near} if near else {}


def _rows(path: str | None, name: str) -> Sequence[Row]:
    """Rows of a list that status tells of in passing: a daemon of another version may not have it."""
    try:
        rows: Sequence[Row] = ask_daemon(path, "GET", f"v1/{name}").get(name, [])
    except PinholeError:
        rows = []
    return rows
