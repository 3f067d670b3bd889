"""How the command line prints: aligned columns for people, JSON for programs. A terminal and a pipe get the same, but
for the colour of what is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from proxy.command import columns
from proxy.text import printable, printable_json

Row = Mapping[str, Any]

_WIDTH = 80
"""The width of what is no terminal."""


def width() -> int:
    """How many columns there are to print in."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _WIDTH
    except (OSError, ValueError):
        return _WIDTH


def say(text: str) -> None:
    """Print progress or a problem for people, on standard error."""
    click.echo(printable(text, keep="\n"), err=True)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    click.echo(printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_line(text: str, colour: str | None = None) -> None:
    """Print a line for people. It has the colour on a terminal alone, and nowhere if NO_COLOR is set."""
    shown = printable(text)
    click.echo(shown if colour is None or os.environ.get("NO_COLOR") else click.style(shown, fg=colour))


def print_rows(
    rows: Sequence[Row],
    shown: Sequence[str] = (),
    empty: str = "",
    is_wide: bool = False,
    wrong: Callable[[Row], bool] = lambda _: False,
) -> None:
    """Print a table.

    shown: the keys of its columns, in this order; by default those of the rows. empty: what is printed when there are
    no rows. is_wide: each row in one line, however long. wrong: whether a row tells of something wrong.
    """
    if not rows:
        click.echo(empty)
        return
    names = shown or list(dict.fromkeys(key for row in rows for key in row))
    cells = [[heading(name) for name in names], *([cell(name, row.get(name)) for name in names] for row in rows)]
    headings, *lines = columns.table(cells, None if is_wide else width())
    for text in headings:
        print_line(text)
    for row, pieces in zip(rows, lines, strict=True):
        for text in pieces:
            print_line(text, "red" if wrong(row) else None)


def print_fields(values: Row, wrong: Callable[[str], bool] = lambda _: False) -> None:
    """Print one record, a line for each of its fields. `wrong` says whether a field tells of something wrong."""
    cells = [[heading(name), cell(name, value)] for name, value in values.items()]
    for name, pieces in zip(values, columns.table(cells, width()) if cells else [], strict=True):
        for text in pieces:
            print_line(text, "red" if wrong(name) else None)


def heading(column: str) -> str:
    """The key of a column as a heading for people."""
    return column.removesuffix("_seconds").replace("_", " ")


def cell(column: str, value: Any) -> str:
    """A value as the text of a cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float() if column.endswith("_seconds"):
            return duration(value)
        case int() if column.startswith("bytes"):
            return size(value)
        case float():
            return str(value).removesuffix(".0")
        case list() | tuple():
            items = [cell("", item) for item in value]
            return ("; " if any(", " in item for item in items) else ", ").join(items) or "-"
        case Mapping():
            return ", ".join(f"{printable(str(key))} {_nested(item)}" for key, item in value.items()) or "-"
        case _:
            return printable(str(value))


def _nested(value: Any) -> str:
    """A value within a value: `sip (calls 1, media 2)`."""
    return f"({cell('', value)})" if isinstance(value, Mapping) else cell("", value)


def size(count: int) -> str:
    """A number of bytes in short, such as 512, 4.0K or 1.5M."""
    if count < 1024:
        return str(count)
    units = next((power for power in range(1, 5) if count < 1000 * 1024**power), 5)
    return f"{count / 1024**units:.1f}{'KMGTP'[units - 1]}"


def duration(seconds: float) -> str:
    """A time in short, such as 4.2s, 3m07s, 2h05m or 3d04h."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"
