"""Reads a log whose lines are linked (`proxy/record/chain.py`), and names the first one that somebody has changed,
removed or doubled.

The files of a log follow each other as rotation has left them, compressed or not. What is no fault, and is said: lines
before the first one that is linked, a line that was cut when the daemon was killed, and a chain that begins anew where
a file and a life of the daemon begin (the log had been moved away meanwhile).
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from errno import EINVAL, ENOENT
from pathlib import Path
from typing import IO, Any

from proxy.record.chain import LINKED, hash_of

_ROTATED = re.compile(r"(?:\.[0-9]+|-[0-9]{6,}(?:-[0-9]+)?)(?:\.(?:gz|xz))?")
"""What logrotate puts behind the name of a file."""
_OPENS = {".gz": gzip.open, ".xz": lzma.open}
_HASH_BEGINS = ',"hash":"'

UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What reading a file may raise that is missing, or not as it was compressed."""


@dataclass(slots=True)
class Verdict:
    """What is to be said of a log."""

    files: list[str] = field(default_factory=list)
    """In the order in which they were written."""
    lines: int = 0
    """How many linked lines were read."""
    since: str | None = None
    """The time of the first one; `until`: of the last one."""
    until: str | None = None
    newest: str | None = None
    """The hash of the last one."""
    place: str | None = None
    """Where the first fault is, as FILE:LINE. None: there is none."""
    fault: str | None = None
    """What is wrong there."""
    remarks: list[str] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether every line is as it was written."""
        return self.fault is None and self.lines > 0


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file."""

    place: str
    is_first: bool
    """It is the first one of its file."""
    text: str
    is_whole: bool
    """A line end follows."""


def files_of(path: Path) -> list[Path]:
    """The files of a log, the oldest first. Raises one of UNREADABLE."""
    every = [path, *(one for one in path.parent.iterdir() if _is_rotated(one.name, path.name))]
    every = [one for one in every if one.exists()]
    if not every:
        raise FileNotFoundError(ENOENT, "there is no such file", str(path))
    return sorted(every, key=lambda one: (_begins_at(one), one == path))


def _is_rotated(name: str, of: str) -> bool:
    return name.startswith(of) and _ROTATED.fullmatch(name[len(of) :]) is not None


def _begins_at(path: Path) -> str:
    """The time of the first line. An empty file comes last."""
    with _opened(path) as file:
        return str(_fields(file.readline()).get("time", "~"))


def verify(paths: Sequence[Path]) -> Verdict:
    """Read the files, which come in the order in which they were written. Raises one of UNREADABLE."""
    verdict = Verdict(files=[str(path) for path in paths])
    last: _Line | None = None
    for line in _lines(paths):
        found = LINKED.search(line.text)
        if found is None:
            if _fault_of_unlinked(verdict, line):
                return verdict
            continue
        begins = len(line.text) - len(found["hash"]) - len(_HASH_BEGINS) - len('"}')
        if hash_of(line.text[:begins]) != found["hash"]:
            return _with_fault(verdict, line, "was changed")
        if last is None:
            if found["prev"] is not None:
                verdict.remarks.append(f"{line.place}: the line before is not here; it may have been rotated away")
            verdict.since = _fields(line.text).get("time")
        elif found["prev"] != verdict.newest and not _begins_anew(verdict, line, found["prev"]):
            return _with_fault(verdict, line, _misplaced(paths, line, last, found["hash"]))
        verdict.lines, verdict.newest, last = verdict.lines + 1, found["hash"], line
    if last is not None:
        verdict.until = _fields(last.text).get("time")
    return verdict


def _fault_of_unlinked(verdict: Verdict, line: _Line) -> bool:
    """Judge a line without hashes. Returns whether it is a fault."""
    if not line.is_whole:
        verdict.remarks.append(f"{line.place}: is being written, or was cut when the daemon was killed")
    elif not _fields(line.text):
        verdict.remarks.append(f"{line.place}: is no line of the log; it may have been cut when the daemon was killed")
    elif verdict.lines:
        _with_fault(verdict, line, "has no hash: it was added, or written without `chain`")
        return True
    return False


def _begins_anew(verdict: Verdict, line: _Line, prev: str | None) -> bool:
    """Whether a chain may begin here: with a file, and with the first line of a life of the daemon."""
    if prev is None and line.is_first and _fields(line.text).get("seq") == 1:
        verdict.remarks.append(f"{line.place}: the chain begins anew, with a file and a life of the daemon")
        return True
    return False


def _misplaced(paths: Sequence[Path], line: _Line, last: _Line, its_hash: str) -> str:
    """Why the line does not fit what stands before it."""
    for other in _lines(paths):
        if other.place == line.place:
            break
        if (found := LINKED.search(other.text)) is not None and found["hash"] == its_hash:
            return f"is a double of {other.place}"
    here, before = _fields(line.text), _fields(last.text)
    was, is_now = before.get("seq"), here.get("seq")
    is_same_life = here.get("instance") == before.get("instance")
    if is_same_life and isinstance(was, int) and isinstance(is_now, int) and is_now > was + 1:
        first, end = was + 1, is_now - 1
        what = f"line {first} is" if first == end else f"lines {first} to {end} are"
        return f"{what} missing before it, by `seq`"
    return f"does not follow {last.place}: a line between was removed, or the one before was put there"


def _with_fault(verdict: Verdict, line: _Line, fault: str) -> Verdict:
    verdict.place, verdict.fault = line.place, fault
    return verdict


def _lines(paths: Sequence[Path]) -> Iterator[_Line]:
    for path in paths:
        with _opened(path) as file:
            for number, data in enumerate(file, 1):
                text = data.decode("utf-8", "surrogateescape")
                yield _Line(f"{path}:{number}", number == 1, text.rstrip("\n"), text.endswith("\n"))


def _opened(path: Path) -> IO[bytes]:
    if path.is_fifo() or path.is_socket() or path.is_char_device():
        raise OSError(EINVAL, "a log is read more than once, so it has to be a file", str(path))
    opens: Any = _OPENS.get(path.suffix, open)
    file: IO[bytes] = opens(path, "rb")
    return file


def _fields(text: str | bytes) -> dict[str, Any]:
    """The fields of a line, by our names; none, if it is none."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):  # whoever has changed the file has written what he liked
        return {}
    if not isinstance(fields, dict):
        return {}
    if "@timestamp" in fields:  # `format: ecs`
        ours, observer = fields.get("pinhole") or {}, fields.get("observer") or {}
        return {**ours, "time": fields["@timestamp"], "instance": observer.get("serial_number")}
    return fields
