"""How the command line prints: tables for a terminal, aligned columns for a pipe, JSON for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from proxy.text import printable, printable_json


def say(text: str) -> None:
    """Print progress or a problem for people, on standard error."""
    click.echo(printable(text, keep="\n"), err=True)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    click.echo(printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (), title: str = "", empty: str = ""
) -> None:
    """Print a table. `columns` are the keys to show, in this order; by default those of the rows. `empty` is printed
    when there are no rows."""
    if not rows:
        click.echo(empty)
        return
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    headings = [_heading(column) for column in columns]
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, cells, title)
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for line in (headings, *cells) if any(map(str.strip, headings)) else cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_fields(values: Mapping[str, Any], title: str = "") -> None:
    """Print one record, a line for each of its fields."""
    rows = [{"": _heading(name), " ": _cell(name, value)} for name, value in values.items()]
    print_rows(rows, title=title)


def _heading(column: str) -> str:
    """The key of a column as a heading for people."""
    return column.removesuffix("_seconds").replace("_", " ")


def _print_rich(headings: Sequence[str], cells: Sequence[Sequence[str]], title: str) -> None:
    """Print a table with lines around its cells, on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, because a cell may hold square brackets (an IPv6 endpoint) that rich would take for markup.
    has_headings = any(map(str.strip, headings))
    table = Table(*headings, title=title or None, title_justify="left", show_header=has_headings)
    for line in cells:
        table.add_row(*map(Text, line))
    Console().print(table)


def _cell(column: str, value: Any) -> str:
    """A value as the text of a cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float() if column.endswith("_seconds"):
            return duration(value)
        case list() | tuple():
            return ", ".join(_cell("", item) for item in value) or "-"
        case Mapping():
            return printable(json.dumps(value, ensure_ascii=False))
        case _:
            return printable(str(value))


def duration(seconds: float) -> str:
    """A time in short, such as 4.2s, 3m07s, 2h05m or 3d04h."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"
