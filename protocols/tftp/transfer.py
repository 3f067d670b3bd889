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
    MAX_SIZE,
    Code,
    Opcode,
    Request,
    block,
    error,
    is_of_transfer,
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
MAX_ASKED_AGAIN = 16
"""How often a request may come again: a client that waits for a server of ten seconds repeats it every second. Each
makes a server that answers from port 69 send its first block once more (TF22)."""
UNHEARD_SECONDS = 3.0
"""So long after the server's first answer the client has been silent when it may never have asked (TF22)."""
MAX_TIMES = 8
"""How many times `max_bytes` may pass in all, with repeats, heads and acknowledgements: with the smallest blocks, of
eight bytes, each may pass four times."""
MARGIN_BYTES = 1 << 16
"""What may pass besides, so that the answer to a file of few bytes may be repeated, too."""


class Transfer:
    """One file on its way between the two sides of a session, and its line in the log."""

    __slots__ = (
        "_asked_again",
        "_awaited",
        "_began_at",
        "_block_bytes",
        "_blocks",
        "_bytes_moved",
        "_ends_at",
        "_last",
        "_passed",
        "_repeated",
        "_rollover",
        "_size",
        "_timeout",
        "_told_of",
        "_unheard_at",
        "_window",
        "is_answered",
        "is_dallying",
        "is_disowned",
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
        """Whether the client has said something to what its server has answered."""
        self.is_dallying = False
        """Whether it is over, and counted as one that stands behind its end."""
        self.is_answered = False
        """Whether the server has said something."""
        self.is_disowned = False
        """Whether the client has said to the server's answer that it asked for none."""
        self._asked_again = 0
        self._awaited = 1
        """The number of the block that comes next."""
        self._last: int | None = None
        """The number of the last block of the file. None: that block has not come."""
        self._block_bytes = BLOCK_BYTES
        self._window = 1
        self._timeout = 0.0
        self._rollover: int | None = None
        """The number of the block after the last number, where the ends have agreed on one."""
        self._size = None if request.is_read else number(request.options, "tsize", 0, MAX_SIZE)
        """The size of the file, as its sender has said."""
        self._bytes_moved = 0
        self._blocks = 0
        self._repeated = 0
        self._passed = 0
        """Bytes of all packets."""
        self._told_of: set[str] = set()
        """Rules whose violation the log has been told of: once is enough for a transfer."""
        self._unheard_at: float | None = None
        """When the client has been silent for too long since the server's answer, unless it has been judged by that
        already."""
        self._ends_at = now + LEAST_IDLE_SECONDS
        """When the session is over if nothing comes, or, after the end of the file, whatever comes."""

    def asked_again(self, data: bytes) -> Sequence[Effect]:
        """The same request has come once more, in a session of requests, wherever the file moves."""
        self._asked_again += 1
        if self._asked_again <= MAX_ASKED_AGAIN:
            return (Send(Side.SERVER, data),)
        return self._once("tftp.too_many", f"a request that came more than {MAX_ASKED_AGAIN} times again", "dropped")

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """A packet of the transfer goes on, unless with it the transfer moves more than it may."""
        is_from_server = side is self.server
        if not is_of_transfer(self.request, is_from_server, data):
            return self._once("tftp.not_tftp", "what belongs to no request", "dropped")
        if is_from_server:
            if not self.is_answered:
                self.is_answered, self._unheard_at = True, now + UNHEARD_SECONDS
        elif self.is_answered:  # what was sent before shows nothing: who forges a request can forge more
            # As the first word it says that nothing was asked for. PXE ends with other codes when it asks for a size.
            self.is_disowned = not self.is_taken_up and _is_unknown(data)
            self.is_taken_up, self._unheard_at = not self.is_disowned, None
        if self.result is not None:
            # Behind an ERROR nothing comes any more, and behind two nothing is asked for again, either (TF16).
            is_last = opcode(data) == Opcode.ERROR
            return (Send(side.other, data), *((Close("finished"),) if is_last else ()))
        self._passed += len(data)
        told = self._follow(is_from_server, data)
        if self._is_too_long():
            return self._refuse(now)
        self._ends_at = now + max(LEAST_IDLE_SECONDS, 4.0 * self._timeout)
        if self.result is not None:
            # The last ACK may be lost, and asked for once more. Until then the session of the transfer stands (TF16).
            self._ends_at = now + max(DALLY_SECONDS, 2.0 * self._timeout)
            ended = (Send(side.other, data), self._told(now))
            return (*ended, Close("finished")) if self.is_disowned else ended
        return (Send(side.other, data), *told) if told else (Send(side.other, data),)

    @property
    def is_unheard(self) -> bool:
        """Whether the server has answered, and the client has said nothing to that yet."""
        return self._unheard_at is not None and self.result is None

    def deadline(self) -> float:
        return min(self._ends_at, self._unheard_at) if self._unheard_at is not None else self._ends_at

    def tick(self, now: float) -> Sequence[Effect]:
        """The client has been silent for so long that it may not have asked; or the time is over, because no packet has
        come for too long, or none was to come any more."""
        if now < self._ends_at:
            self._unheard_at = None if self._unheard_at is None or self._unheard_at <= now else self._unheard_at
            return ()
        return (*self.end("timeout", now), Close("timeout" if self.result == "timeout" else "finished"))

    def end(self, result: str, now: float) -> Sequence[Effect]:
        """The transfer goes on no more, however far it has come."""
        if self.result is not None:
            return ()
        self.result = result
        return (self._told(now),)

    # -- what passes -------------------------------------------------------------------------------------------------

    def _follow(self, is_from_server: bool, data: bytes) -> Sequence[Effect]:
        match opcode(data):
            case Opcode.DATA:
                self._data(block(data), len(data) - HEAD_BYTES)
            case Opcode.ACK:
                if block(data) == self._last:
                    self.result = "complete"
            case Opcode.OACK:
                return self._agree(data) if self._blocks == 0 else ()
            case _:
                code, text = read_error(data)
                self.result = f"error {code} {text[:MAX_TEXT_BYTES].decode('latin-1')}".rstrip()
        return ()

    def _data(self, came: int, size: int) -> None:
        if self._awaited == 0 and came == 1 and self._may_go_on_with_one():
            self._awaited = came
        if self._last is not None or came != self._awaited:
            self._repeated += 1
            return
        self._awaited = (came + 1) % (LAST_BLOCK + 1)
        self._blocks += 1
        self._bytes_moved += size
        if size < self._block_bytes:
            self._last = came

    def _may_go_on_with_one(self) -> bool:
        """Whether 1 can be the number after the last one. In a window it comes behind a 0 that was lost, unless the
        ends have agreed that there is none."""
        return self._window == 1 if self._rollover is None else self._rollover == 1

    def _agree(self, data: bytes) -> Sequence[Effect]:
        """RFC 2347: an option that the OACK does not have is not in force."""
        options = read_options(data)
        self._block_bytes = number(options, "blksize", 8, 65464) or number(options, "blksize2", 8, 65464) or BLOCK_BYTES
        self._window = number(options, "windowsize", 1, 65535) or 1
        self._timeout = number(options, "timeout", 1, 255) or (number(options, "utimeout", 1, 255_000_000) or 0) / 1e6
        self._rollover = number(options, "rollover", 0, 1)
        if self.request.is_read:
            self._size = number(options, "tsize", 0, MAX_SIZE)
        if "multicast" in dict(options):
            return self._once("tftp.multicast_not_followed", "an OACK names a multicast group", "passed on")
        return ()

    def _is_too_long(self) -> bool:
        """Whether the file is longer than it may be, or so much passes besides that it may be another one."""
        most = self.most_bytes
        if most is None:
            return False
        return max(self._bytes_moved, self._size or 0) > most or self._passed > MAX_TIMES * most + MARGIN_BYTES

    def _refuse(self, now: float) -> Sequence[Effect]:
        detail = f"more than {self.most_bytes} bytes"
        answer = error(Code.DISK_FULL, "file too long")
        self.result = "refused"
        told = violation("tftp.too_long", detail, "answered ERROR 3")
        return (told, self._told(now), *(Send(side, answer) for side in Side), Close("refused"))

    def _once(self, rule: str, detail: str, action: str) -> Sequence[Effect]:
        if rule in self._told_of:
            return ()
        self._told_of.add(rule)
        return (violation(rule, detail, action),)

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
        if self._size is not None:
            facts["size"] = self._size
            # As netascii a file has other line ends on its way, and so another size.
            is_other = self._size != self._bytes_moved and self.request.mode != b"netascii"
            if self.result == "complete" and is_other:
                facts["size_mismatch"] = True
        return Note("tftp.transfer", facts)


def _is_unknown(data: bytes) -> bool:
    """Whether an end says that it knows of no such transfer (RFC 1350 s.4)."""
    return opcode(data) == Opcode.ERROR and read_error(data)[0] == Code.UNKNOWN_TRANSFER


def direction(request: Request) -> str:
    """Whether a file is read or written, as the client sees it."""
    return "read" if request.is_read else "write"
