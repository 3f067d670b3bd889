"""`pinhole top`: what passes now, the busiest first."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from proxy.command.client import ask_daemon
from proxy.command.options import with_config, with_filters, with_json, with_wide
from proxy.command.status import is_degraded, trouble
from proxy.command.terminal import cell, print_json, print_line, print_rows, size
from proxy.command.watching import watch

Row = Mapping[str, Any]

_COLUMNS = ("rate", "id", "helper", "age_seconds", "pinholes", "client", "server")
_FILTERS = ("helper", "client", "server", "address", "policy", "text")
_SCREEN_LINES = 24


class Rates:
    """How many bytes a second pass each session, between one look and the next."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._at = 0.0

    def of(self, passed: Mapping[str, int], now: float) -> dict[str, float]:
        """passed: bytes of each session so far. A session that was not there at the last look has no rate yet."""
        seconds = max(now - self._at, 0.001)
        found = {
            key: max(count - self._before[key], 0) / seconds for key, count in passed.items() if key in self._before
        }
        self._before, self._at = dict(passed), now
        return found


def passed(sessions: Sequence[Row], pinholes: Sequence[Row]) -> dict[str, int]:
    """The bytes that have passed each session and what was opened for it."""
    total = {row["id"]: row["bytes_from_client"] + row["bytes_from_server"] for row in sessions}
    for row in pinholes:
        if row["session"] in total:
            total[row["session"]] += row["bytes_in"] + row["bytes_out"]
    return total


@click.command()
@with_config
@with_json
@with_wide
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), metavar="SECONDS", default=2.0, help="Between two looks (2)."
)
@click.option("--once", is_flag=True, help="Look twice, and end.")
@with_filters(_FILTERS)
def top(path: str | None, as_json: bool, is_wide: bool, seconds: float, once: bool, query: Mapping[str, str]) -> None:
    """Show the busiest sessions, with all that was opened for them, anew each two seconds."""
    rates = Rates()

    def look() -> tuple[Row, list[Row]]:
        rows = ask_daemon(path, "GET", "v1/sessions", query).get("sessions", [])
        pinholes = ask_daemon(path, "GET", "v1/pinholes").get("pinholes", [])
        found = rates.of(passed(rows, pinholes), time.monotonic())
        rows = [{"rate": found.get(row["id"], 0.0), **row} for row in rows]
        return ask_daemon(path, "GET", "status"), sorted(rows, key=lambda row: row["rate"], reverse=True)

    def show() -> None:
        status, rows = look()
        if as_json:
            print_json({"status": status, "sessions": rows})
            return
        print_line(headline(status, sum(row["rate"] for row in rows)), "red" if is_degraded(status) else None)
        click.echo()
        columns = (*_COLUMNS, *(["snat", "dnat", "policy", "state"] if is_wide else []))
        shown = [{**row, "rate": f"{size(round(row['rate']))}/s"} for row in rows[: _room()]]
        print_rows(shown, columns, empty="no sessions", is_wide=is_wide)

    look()
    if once or not sys.stdout.isatty():
        time.sleep(seconds)
    watch(show, None if once else seconds)


def headline(status: Row, rate: float) -> str:
    """The state of the daemon in a line."""
    return ", ".join([*_said(status), f"{size(round(rate))}/s"])


def _said(status: Row) -> Iterator[str]:
    wrong = trouble(status)
    yield str(wrong.pop("state"))
    yield from (f"{name.replace('_', ' ')}: {cell(name, value)}" for name, value in wrong.items())
    yield f"{status.get('sessions', 0)} sessions, {status.get('pinholes', 0)} pinholes"
    for name, counts in status.get("helpers", {}).items():
        if counts.get("calls"):
            yield f"{counts['calls']} calls ({name})"


def _room() -> int | None:
    """How many sessions fit the screen; what is no terminal has room for all."""
    if not sys.stdout.isatty():
        return None
    try:
        lines = os.get_terminal_size().lines or _SCREEN_LINES
    except OSError:
        lines = _SCREEN_LINES
    return max(lines - 4, 1)
