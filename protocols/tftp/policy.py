"""Which requests the options of a policy refuse, and with what the client is answered then."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from posixpath import normpath

from protocols.contract.addresses import Side
from protocols.contract.effects import Note, Send, violation
from protocols.tftp.options import TftpOptions
from protocols.tftp.wire import MAX_SIZE, Code, Request, error, number


def refused(request: Request, options: TftpOptions) -> tuple[Note, Send] | None:
    """Why the options refuse a request, for the log and for the client. None: it may pass."""
    name = request.name.decode("latin-1")
    most, size = options.max_bytes, number(request.options, "tsize", 0, MAX_SIZE)
    if request.is_read and options.read == "deny":
        rule = "tftp.read"
    elif not request.is_read and options.write == "deny":
        rule = "tftp.write"
    elif not _may_be_named(name, options):
        rule = "tftp.name"
    elif most is not None and not request.is_read and size is not None and size > most:
        # The write is refused at once and not when its data comes, because by then the server would have thrown the old
        # file away for it.
        return (
            violation("tftp.too_long", f"WRQ of {name!r} of {size} bytes", "answered ERROR 3"),
            Send(Side.CLIENT, error(Code.DISK_FULL, "file too long")),
        )
    else:
        return None
    told = violation(rule, f"{request.opcode.name} of {name!r}", "answered ERROR 2")
    return told, Send(Side.CLIENT, error(Code.ACCESS_VIOLATION, "refused"))


def _may_be_named(name: str, options: TftpOptions) -> bool:
    """Whether the options allow this name. It is judged as it is spelled, and as file systems read it: `boot/../secret`
    is not in `boot`. Servers differ in what they take for the same file (TF24), so `deny_names` is about each of
    them: it makes no difference to it whether a name begins at the root, how many levels above it, or in which case it
    is."""
    spelled = _with_slashes(name)
    readings = {spelled, normpath(spelled)}
    if _is_any_of(map(_from_root, {*readings, normpath(f"/{spelled}")}), map(_from_root, options.deny_names)):
        return False
    names = [_with_slashes(pattern) for pattern in options.names]
    return not names or all(_is_any_of([reading], names) for reading in readings)


def _is_any_of(readings: Iterable[str], patterns: Iterable[str]) -> bool:
    every = list(patterns)
    return any(fnmatchcase(reading, pattern) for reading in readings for pattern in every)


def _from_root(text: str) -> str:
    return _with_slashes(text).lstrip("/").lower()


def _with_slashes(text: str) -> str:
    """The name with slashes for backslashes, because servers on Windows take either."""
    return text.replace("\\", "/")
