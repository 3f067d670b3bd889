"""What the audit file tells of one pinhole or address: the lines that belong together, found from the end backwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from proxy.control.past import Line, Opener, Past, open_all
from proxy.control.shapes import stamp
from proxy.record.recent import WATCHED

MOST_FOUND = 8
"""So many pinholes and refusals are looked for."""
_REFUSALS = WATCHED
_NEAR_SECONDS = 60
"""A refusal counts for a time that it is not further away from than this."""


class History:
    """The audit files of the configuration in force."""

    def __init__(self, files: Callable[[], Sequence[Opener]]) -> None:
        """`files` opens the files, the newest one first. It is called from a thread."""
        self._files = files

    def says(self, what: str) -> str:
        """What is to be said when nothing was found."""
        if not self._files():
            return "no audit file is configured (`audit: {to: FILE}`), which would tell what was before"
        return f"the audit file does not name {what}"

    def find(self, pinhole: str | None, address: str | None, moment: str | None) -> list[list[Line]]:
        """Groups of lines: all of one pinhole, or equal refusals; the newest first. `moment` is the time that is asked
        for, as lines have it."""
        stack, files = open_all(self._files())
        with stack:
            for file in files:
                found = self._of_pinhole(file, pinhole, moment) if pinhole else self._of_address(file, address, moment)
                if found:
                    return found
        return []

    @staticmethod
    def _of_pinhole(file: Past, pinhole: str, moment: str | None) -> list[list[Line]]:
        end = None if moment is None else file.offset_of(moment)
        for word in _numbers(pinhole):
            for begin, line in file.before(end, word):
                if line["event"] == "pinhole.opened":
                    return [_from_opening(file, begin, line)]
                if line["event"] in _REFUSALS and "session" not in line:
                    return [[line]]
        return []

    @staticmethod
    def _of_address(file: Past, address: str | None, moment: str | None) -> list[list[Line]]:
        assert address is not None
        if moment is not None and (found := _named(file, address, file.offset_of(_later(moment)), moment)):
            return found
        # Where the clock was set back, lines of that time may also stand behind later ones.
        return _named(file, address, None, moment)


def _named(file: Past, address: str, end: int | None, moment: str | None) -> list[list[Line]]:
    """What the lines before `end` tell of an address."""
    found: list[list[Line]] = []
    for begin, line in file.before(end, address):
        if len(found) >= MOST_FOUND:
            break
        if moment is not None and line["event"] in _REFUSALS and not _is_near(line["time"], moment):
            continue
        if line["event"] == "pinhole.opened":
            lines = _from_opening(file, begin, line)
            if moment is None or _stood(lines, moment):
                found.append(lines)
        elif line["event"] == "pinhole.used":
            found += _of_number(file, begin, line, moment)
        elif line["event"] in _REFUSALS:
            same = next((group for group in found if _is_same(group[0], line)), None)
            if same is None:
                found.append([line])
            else:
                same.insert(0, line)
    return _without_repeats(found)


def _of_number(file: Past, begin: int, used: Line, moment: str | None) -> Iterator[list[Line]]:
    """The pinhole through which somebody came."""
    for word in _numbers(str(used["pinhole"])):
        for at, line in file.before(begin, word):
            if line["event"] == "pinhole.opened" and line.get("session") == used.get("session"):
                lines = _from_opening(file, at, line)
                if moment is None or _stood(lines, moment):
                    yield lines
                return


def _from_opening(file: Past, begin: int, opened: Line) -> list[Line]:
    """All lines of a pinhole, whose first one begins there."""
    lines: list[Line] = []
    for line in file.after(begin, *_numbers(str(opened["pinhole"]))):
        if line.get("session") != opened.get("session"):
            continue
        if line["event"] == "pinhole.opened" and lines:
            break
        lines.append(line)
        if line["event"] == "pinhole.closed":
            break
    return lines or [opened]


def _numbers(pinhole: str) -> Sequence[str]:
    """How a line names a pinhole: with or without a blank."""
    values = [pinhole] if pinhole.isdecimal() else [json.dumps(pinhole)]
    return [f'"pinhole":{between}{value}' for value in values for between in ("", " ")]


def _stood(lines: Sequence[Line], moment: str) -> bool:
    """Whether a pinhole stood at that time."""
    ends = [line["time"] for line in lines if line["event"] == "pinhole.closed"]
    return bool(lines[0]["time"] <= moment and (not ends or moment <= ends[0]))


def _is_same(one: Line, other: Line) -> bool:
    names = ("event", "reason", "rule", "server", "interface", "pinhole")
    return all(one.get(name) == other.get(name) for name in names) and _host(one) == _host(other)


def _host(line: Line) -> str:
    return str(line.get("client", "")).rpartition(":")[0]


def _without_repeats(found: Sequence[list[Line]]) -> list[list[Line]]:
    kept: dict[tuple[object, ...], list[Line]] = {}
    for lines in found:
        first = lines[0]
        kept.setdefault((first["event"], first["time"], first.get("session"), first.get("pinhole")), lines)
    return list(kept.values())


def _later(moment: str) -> str:
    return _moved(moment, _NEAR_SECONDS)


def _is_near(time: str, moment: str) -> bool:
    """Whether a refusal at that time counts for this one."""
    return _moved(moment, -_NEAR_SECONDS) <= time <= _later(moment)


def _moved(moment: str, seconds: float) -> str:
    return stamp(datetime.fromisoformat(moment).timestamp() + seconds)
