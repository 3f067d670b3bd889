"""One transfer of TFTP, as it passes: what has been moved, and when it is over (RFC 1350 s.2 and 6).

    read,  no options:  RRQ -> DATA 1 -> ACK 1 -> DATA 2 ...        with options:  RRQ -> OACK -> ACK 0 -> DATA 1 ...
    write, no options:  WRQ -> ACK 0 -> DATA 1 -> ACK 1 ...         with options:  WRQ -> OACK -> DATA 1 ...

The last DATA is shorter than a whole block, and the transfer is over when its ACK has passed (TF5). Whose block came
last is known by the one that the receiver waits for: whatever else comes is a repeat, or stands behind one that was
lost, and does not count (RFC 7440 s.4: the sender goes back to it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocols.contract.addresses import Side
from protocols.contract.effects import Close, Effect, Note, Send, violation
from protocols.tftp.wire import (
    HEAD_BYTES,
    Code,
    Opcode,
    Request,
    block,
    error,
    number,
    opcode,
    read_error,
    read_options,
)

BLOCK_BYTES = 512
"""The size of each DATA but the last, unless another size was agreed on (RFC 1350 s.2)."""
LAST_BLOCK = 0xFFFF
"""The highest block number. After it comes 0 or 1; implementations differ (TF6)."""
LEAST_IDLE_SECONDS = 30.0
"""Silence after which a transfer is given up: five repeats of most implementations (TF17)."""
DALLY_SECONDS = 6.0
"""How long, at least, the last ACK may be asked for once more (RFC 1350 s.6; TF16)."""
MAX_TEXT_BYTES = 100
"""How much of the text of a peer's ERROR the log is told."""
MAX_SIZE = 1 << 62
"""The largest size of a file that is believed, as `tsize` tells it."""


class Transfer:
    """One file on its way between the two sides of a session, and its line in the log."""

    __slots__ = (
        "_awaited",
        "_began_at",
        "_block_bytes",
        "_blocks",
        "_bytes_moved",
        "_ends_at",
        "_last",
        "_repeated",
        "_size",
        "_timeout",
        "_window",
        "is_answered",
        "is_taken_up",
        "most_bytes",
        "request",
        "result",
        "server",
    )

    def __init__(self, request: Request, server: Side, most_bytes: int | None, now: float) -> None:
        """server: the side on which the server is. most_bytes: what may be moved."""
        self.request = request
        self.server = server
        self.most_bytes = most_bytes
        self._began_at = now
        self.result: str | None = None
        """How it ended; None while it goes on."""
        self.is_taken_up = False
        """Whether the client has said something since its request."""
        self.is_answered = False
        """Whether the server has said something."""
        self._awaited = 1
        """The number of the block that comes next."""
        self._last: int | None = None
        """The number of the last block of the file. None: that block has not come."""
        self._block_bytes = BLOCK_BYTES
        self._window = 1
        self._timeout = 0
        self._size = None if request.is_read else number(request.options, "tsize", 0, MAX_SIZE)
        """The size of the file, as its sender has said."""
        self._bytes_moved = 0
        self._blocks = 0
        self._repeated = 0
        self._ends_at = now + LEAST_IDLE_SECONDS
        """When the session is over if nothing comes, or, after the end of the file, whatever comes."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """A packet of the transfer goes on, unless with it the transfer moves more than it may."""
        if side is self.server:
            self.is_answered = True
        else:
            self.is_taken_up = True
        if self.result is None:
            self._follow(side, data)
            if self._is_too_long():
                return self._refuse(now)
            self._ends_at = now + max(LEAST_IDLE_SECONDS, 4.0 * self._timeout)
            if self.result is not None:
                # The last ACK may be lost, and asked for once more. Until then the session of the transfer stands
                # (TF16).
                self._ends_at = now + max(DALLY_SECONDS, 2.0 * self._timeout)
                return (Send(side.other, data), self._told(now))
        return (Send(side.other, data),)

    def deadline(self) -> float:
        return self._ends_at

    def tick(self, now: float) -> Sequence[Effect]:
        """The time is over: no packet has come for too long, or none was to come any more."""
        return (*self.end("timeout", now), Close("timeout" if self.result == "timeout" else "finished"))

    def end(self, result: str, now: float) -> Sequence[Effect]:
        """The transfer goes on no more, however far it has come."""
        if self.result is not None:
            return ()
        self.result = result
        return (self._told(now),)

    # -- what passes -------------------------------------------------------------------------------------------------

    def _follow(self, side: Side, data: bytes) -> None:
        is_from_server = side is self.server
        is_from_sender = is_from_server == self.request.is_read
        match opcode(data):
            case Opcode.DATA if is_from_sender and len(data) >= HEAD_BYTES:
                self._data(block(data), len(data) - HEAD_BYTES)
            case Opcode.ACK if not is_from_sender and len(data) >= HEAD_BYTES:
                if block(data) == self._last:
                    self.result = "complete"
            case Opcode.OACK if is_from_server:
                self._agree(data)
            case Opcode.ERROR:
                code, text = read_error(data)
                self.result = f"error {code} {text[:MAX_TEXT_BYTES].decode('latin-1')}".rstrip()

    def _data(self, came: int, size: int) -> None:
        is_wrapped_to_one = self._awaited == 0 and came == 1
        if self._last is not None or not (came == self._awaited or is_wrapped_to_one):
            self._repeated += 1
            return
        self._awaited = (came + 1) % (LAST_BLOCK + 1)
        self._blocks += 1
        self._bytes_moved += size
        if size < self._block_bytes:
            self._last = came

    def _agree(self, data: bytes) -> None:
        """RFC 2347: an option that the OACK does not have is not in force."""
        options = read_options(data)
        self._block_bytes = number(options, "blksize", 8, 65464) or BLOCK_BYTES
        self._window = number(options, "windowsize", 1, 65535) or 1
        self._timeout = number(options, "timeout", 1, 255) or 0
        if self.request.is_read:
            self._size = number(options, "tsize", 0, MAX_SIZE)

    def _is_too_long(self) -> bool:
        return self.most_bytes is not None and max(self._bytes_moved, self._size or 0) > self.most_bytes

    def _refuse(self, now: float) -> Sequence[Effect]:
        detail = f"more than {self.most_bytes} bytes"
        answer = error(Code.DISK_FULL, "file too long")
        self.result = "refused"
        told = violation("tftp.too_long", detail, "answered ERROR 3")
        return (told, self._told(now), *(Send(side, answer) for side in Side), Close("refused"))

    # -- the log -----------------------------------------------------------------------------------------------------

    def _told(self, now: float) -> Note:
        facts: dict[str, Any] = {
            "direction": direction(self.request),
            "file": self.request.name,
            "bytes": self._bytes_moved,
            "blocks": self._blocks,
            "repeated": self._repeated,
            "block_bytes": self._block_bytes,
            "window": self._window,
            "seconds": round(now - self._began_at, 6),
            "result": self.result,
        }
        if self._size is not None and self.result == "complete" and self._size != self._bytes_moved:
            facts["size_mismatch"] = True
        return Note("tftp.transfer", facts)


def direction(request: Request) -> str:
    """Whether a file is read or written, as the client sees it."""
    return "read" if request.is_read else "write"
