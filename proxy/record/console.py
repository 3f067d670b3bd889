"""The form of the log for people: time, event and session, then what the event tells, then whom the session is of.

    2026-11-29T20:15:00.123Z  pinhole.opened   1cce2aa5-4   pinhole=1 purpose="ftp data" listen=203.0.113.7:40000 ...

On a terminal a long line goes on below itself, and how grave an event is has a colour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.record.catalogue import severity
from proxy.text import printable

_CONTEXT = ("helper", "policy", "client", "server")
"""What all lines of a session have alike. It stands last, since who reads them knows it by then."""
_FOR_PROGRAMS = ("severity", "node", "instance", "seq", "prev", "hash")
"""What joins lines and proves them, and tells people nothing."""
_COLOURS = {"error": "\x1b[31m", "warning": "\x1b[33m", "notice": "\x1b[1m"}
_PLAIN = "\x1b[0m"
_BARE = re.compile(r"[^\s\"'={},]+")
"""Text that needs no quotes to be told from what is beside it."""
_INDENT = 26


def render(record: Mapping[str, Any], coloured: bool = False, width: int | None = None) -> str:
    """A record as text. width: of a terminal; None: the fields stay in one line."""
    fields = {name: value for name, value in record.items() if name not in _FOR_PROGRAMS}
    name, traceback = fields.pop("event"), fields.pop("traceback", None)
    first = f"{_moment(fields.pop('time'))}  {name:15}  {printable(str(fields.pop('session', '-'))):11}"
    context = {key: fields.pop(key) for key in _CONTEXT if key in fields}
    lines = _lines(first, [f"{printable(key)}={_value(value)}" for key, value in (fields | context).items()], width)
    if traceback is not None:
        lines += [" " * _INDENT + printable(str(text)) for text in traceback]
    if coloured and (colour := _COLOURS.get(severity(name))):
        lines = [f"{colour}{text}{_PLAIN}" for text in lines]
    return "\n".join(lines)


def _moment(time: str) -> str:
    """A time stamp to the millisecond; `pinhole explain --at` takes it."""
    return f"{time[:23]}Z"


def _lines(first: str, fields: list[str], width: int | None) -> list[str]:
    """The fields behind what stands first, over as many lines as the width asks for."""
    if width is None:
        return [" ".join([first, *fields]).rstrip()]
    lines, line = [], first
    for text in fields:
        if len(line) + 1 + len(text) > width and line.strip():
            lines.append(line.rstrip())
            line = " " * (_INDENT - 1)
        line = f"{line} {text}"
    return [*lines, line.rstrip()]


def _value(value: Any) -> str:
    """A value, so that it can be told where it ends."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return str(value)
        case list() | tuple():
            return ",".join(map(_value, value)) or "-"
        case Mapping():
            return "{" + " ".join(_members(value)) + "}"
        case _:
            text = printable(str(value))
            return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _members(value: Mapping[str, Any]) -> Iterator[str]:
    for key, item in value.items():
        yield f"{printable(str(key))}={_value(item)}"
