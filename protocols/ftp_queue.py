"""FTP's replies in their turn: which command the server answers, and when an answer of ours may go out.

The n-th final reply belongs to the n-th command (RFC 1123 s.4.1.2.10; F5). The exceptions are few and all have to do
with a transfer that is still running; they are in one table below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from protocols import ftp_wire as wire
from protocols.engine import Side
from protocols.framing import Outbox
from protocols.ftp_data import Data, Transfer

MAX_PENDING = 64
"""F77: commands without a final reply. Clients that pipeline at all send a handful."""

_OVERTAKES: Mapping[str, frozenset[int]] = {
    "ABOR": frozenset({225}),
    "STAT": frozenset({211, 212, 213}),
    "QUIT": frozenset({221}),
    "NOOP": frozenset({200}),
}
"""Replies that may come before that of an older transfer, and that a transfer itself does not have (F9, F10)."""

_ABOR_REPLIES = frozenset({225, 226, 426, 500, 501, 502, 530})


@dataclass(slots=True, eq=False)
class Pending:
    """A command that has no final reply yet."""

    verb: str
    argument: bytes = b""
    answer: bytes | None = None
    """Ours: it goes to the client when its turn comes, and the server knows nothing of the command."""
    data: Data | None = None
    """What was opened for it and waits for the server's consent."""
    transfer: Transfer | None = None


class ReplyQueue:
    """The commands without a final reply, oldest first. An answer of ours is never the oldest: it is sent at once."""

    __slots__ = ("_out", "_waiting")

    def __init__(self, out: Outbox) -> None:
        self._out = out
        # The greeting is the reply to a command that nobody sent.
        self._waiting: deque[Pending] = deque([Pending("")])

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._waiting)

    @property
    def oldest(self) -> Pending:
        return self._waiting[0]

    @property
    def youngest(self) -> Pending:
        return self._waiting[-1]

    def append(self, pending: Pending) -> bool:
        """False: there are too many."""
        if len(self._waiting) >= MAX_PENDING:
            return False
        self._waiting.append(pending)
        return True

    def clear(self) -> None:
        self._waiting.clear()

    def turn(self, code: int) -> Pending | None:
        """Which command a reply with this code answers: the oldest one, but for the cases below. None: none of them."""
        waiting = self._waiting
        if not waiting or code == 421:  # 421 comes at any moment and answers nothing (F16)
            return None
        head = waiting[0]
        if head.transfer is not None:
            for other in waiting:
                if other.answer is None and code in _OVERTAKES.get(other.verb, ()):
                    return other
        if head.verb == "ABOR" and len(waiting) > 1 and code not in _ABOR_REPLIES:
            # The 226 before it was for ABOR and the transfer together, not for the transfer alone (F10).
            self.settle(head)
            return self.turn(code)
        return head

    def settle(self, answered: Pending) -> None:
        """This command has its final reply; answers of ours that waited behind it are due."""
        self._waiting.remove(answered)
        while self._waiting and (answer := self._waiting[0].answer) is not None:
            self._out.send(Side.CLIENT, answer)
            self._waiting.popleft()

    def is_agreeing(self) -> bool:
        """Whether a command that may bring an agreement waits for its reply."""
        return any(pending.verb in wire.AGREEMENTS for pending in self._waiting)

    def coming_transfer(self) -> Transfer | None:
        """The transfer that the present agreement is for, if its command has come already."""
        for pending in self._waiting:
            if pending.transfer is not None:
                return pending.transfer
            if pending.verb in wire.AGREEMENTS:
                break
        return None
