"""Aligned columns of text that fit a width and cut nothing. This module is pure.

A value that is too long for its column, as an IPv6 address is, takes its row on to a second line. So one such row does
not push the columns of all others apart, and each stays whole, to be pasted into the next command.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import accumulate

GAP = 2
"""Blanks between two columns."""
_INDENT = 4
_LONG = 21
"""Nothing longer makes a column wider where space is short. An IPv4 address with its port is no longer."""
_LEAST_PROSE = 16
"""Text with blanks is not wrapped into less than that."""


def table(lines: Sequence[Sequence[str]], width: int | None) -> list[list[str]]:
    """Each line of cells as lines of text; all begin their columns at the same places. width: None for any."""
    widths = _widths(lines, width)
    offsets = list(accumulate((one + GAP for one in widths), initial=0))[:-1]
    longest = max((len(cell) for cells in lines for cell in cells if " " not in cell), default=0)
    below = max((at for at in offsets[1:] if width is not None and at + longest <= width), default=_INDENT)
    return [_placed(cells, offsets, below, width) for cells in lines]


def _widths(lines: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """How wide each column is."""
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if _fit(widths, width):
        return widths
    if any(" " in cell for cell in columns[-1]):  # it is wrapped
        widths[-1] = min(widths[-1], _LEAST_PROSE)
        if _fit(widths, width):
            return widths
    return [max((len(cell) for cell in column if len(cell) <= _LONG), default=_LONG) for column in columns]


def _fit(widths: Sequence[int], width: int | None) -> bool:
    return width is None or sum(widths) + GAP * (len(widths) - 1) <= width


def _placed(cells: Sequence[str], offsets: Sequence[int], below: int, width: int | None) -> list[str]:
    """One line of cells, over as many lines as it needs. A cell that is out of room begins a line at `below`, where
    there is room for all that is long."""
    done: list[str] = []
    line = ""
    for index, cell in enumerate(cells):
        at = max(offsets[index], len(line) + GAP if line else 0)
        if width is not None and at + len(cell) > width and line:
            is_last = index == len(cells) - 1
            if is_last and " " in cell and width - at >= _LEAST_PROSE:
                return [*done, *_beside(line, at, wrapped(cell, width - at))]
            done.append(line)
            line = ""
            at = below
        if width is not None and at + len(cell) > width and " " in cell:
            *more, last = wrapped(cell, width - at)
            done += _beside(line, at, more)
            line, cell = "" if more else line, last
        line = line.ljust(at) + cell
    return [text.rstrip() for text in (*done, line)]


def _beside(line: str, at: int, texts: Sequence[str]) -> list[str]:
    """Lines of which the first stands behind `line`, and all begin at the same place."""
    return [(line if number == 0 else "").ljust(at) + text for number, text in enumerate(texts)]


def wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    """Text in lines of this width, all indented. A word that is too long stays whole."""
    room = max(width - indent, _LEAST_PROSE)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [" " * indent + line for line in lines]
