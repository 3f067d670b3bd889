"""FTP's replies in their turn: which command the server answers, and when an answer of ours may go out.

The n-th final reply belongs to the n-th command (RFC 1123 s.4.1.2.10; F5). There are two kinds of exceptions, each in a
table below: what may be answered while a transfer is still running, and codes that only certain commands are answered
by. By the latter the queue falls into step again after a server has left a command without a reply: some swallow every
NOOP by which a client keeps a control connection alive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from protocols.contract.addresses import Side
from protocols.contract.effects import Outbox
from protocols.ftp import wire
from protocols.ftp.data import Data, Transfer

MAX_PENDING = 64
"""F77: how many commands may be without a final reply. Clients that pipeline at all send a handful."""
MAX_KEEP_ALIVES = 32
"""How many commands may wait behind a transfer before a further keep-alive command is no longer waited for. This leaves
room for other commands."""

_OVERTAKES: Mapping[str, frozenset[int]] = {
    "ABOR": frozenset({225}),
    "STAT": frozenset({211, 212, 213}),
    "QUIT": frozenset({221}),
    "NOOP": frozenset({200}),
}
"""Replies that may come before the reply of an older transfer, and that a transfer itself does not have (F9, F10)."""

_TELLING: Mapping[int, frozenset[str]] = {
    **dict.fromkeys((110, 125, 150), wire.TRANSFERS),
    **dict.fromkeys((226, 426), wire.TRANSFERS | {"ABOR"}),
    225: frozenset({"ABOR"}),
    220: frozenset({"REIN"}),
    221: frozenset({"QUIT"}),
    211: frozenset({"FEAT", "STAT", "HELP", "SITE"}),
    213: frozenset({"STAT", "SIZE", "MDTM", "MFMT", "MFCT", "HASH", "AVBL"}),
    215: frozenset({"SYST"}),
    227: wire.PASSIVE_227,
    229: frozenset({"EPSV"}),
    **dict.fromkeys((230, 331, 332), wire.LOGIN),
    **dict.fromkeys((234, 334), frozenset({"AUTH"})),
    257: frozenset({"MKD", "XMKD", "PWD", "XPWD"}),
    350: frozenset({"RNFR", "REST"}),
}
"""code -> the commands that it can answer. If the oldest command is none of them and a later one is, then the commands
before that later one have no reply."""

_OF_DATA = frozenset({125, 150, 227, 229})
"""The codes of _TELLING that are nearly always about a data connection. They tell even behind an unknown command: a
client that had begun a transfer by that command would wait for its end before it asked for another one."""

_PASSIVE = wire.PASSIVE_227 | {"EPSV"}

_KEEP_ALIVES = frozenset({"NOOP", "XNOP", "STAT", "PWD", "SYST", "TYPE", "SITE", "ALLO"})
"""Commands by which clients keep a control connection alive, for hours and without waiting for the replies."""

_ABOR_REPLIES = frozenset({225, 226, 426, 500, 501, 502, 530})


@dataclass(slots=True, eq=False)
class Pending:
    """A command that has no final reply yet."""

    verb: str
    argument: bytes = b""
    answer: bytes | None = None
    """An answer of ours: it goes to the client when its turn comes, and the server knows nothing of the command."""
    data: Data | None = None
    """What was opened for the command and waits for the server's consent."""
    transfer: Transfer | None = None
    """What the command moves, if it is one that moves data."""
    waits_for: Data | None = None
    """The pinhole that an unknown command waits for. The server has gone ahead as if the command moved data."""

    def has_begun(self) -> bool:
        """Whether its transfer is on its way."""
        return self.transfer is not None and self.transfer.has_begun


class Turn(NamedTuple):
    """Which command a reply answers, and what else it shows."""

    answered: Pending | None
    """The command; None: the reply answers none."""
    unanswered: Sequence[Pending] = ()
    """Older commands that will have no reply, as this reply shows."""


class ReplyQueue:
    """The commands without a final reply, oldest first. An answer of ours is never the oldest: it is sent at once."""

    __slots__ = ("_out", "_telling", "_waiting")

    def __init__(self, out: Outbox, is_translated: bool) -> None:
        """is_translated: the server may be asked for EPSV where the client said PASV, and the other way round."""
        self._out = out
        self._telling = {**_TELLING, 227: _PASSIVE, 229: _PASSIVE} if is_translated else _TELLING
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
        """Queue a command. False: too many wait already. A client may send keep-alive commands without end while a
        transfer runs. Beyond a bound their replies are not waited for, and a reply that comes all the same is passed on
        like any other."""
        if len(self._waiting) > MAX_KEEP_ALIVES and self._is_keep_alive(pending):
            return True
        if len(self._waiting) >= MAX_PENDING:
            return False
        self._waiting.append(pending)
        return True

    def _is_keep_alive(self, pending: Pending) -> bool:
        return pending.answer is None and pending.verb in _KEEP_ALIVES and self.oldest.has_begun()

    def clear(self) -> None:
        self._waiting.clear()

    def turn(self, code: int) -> Turn:
        """Which command a reply with this code answers: the oldest one, but for the cases above."""
        waiting = self._waiting
        if not waiting or code == 421:  # 421 may come at any moment and answers no command (F16)
            return Turn(None)
        head = waiting[0]
        if head.transfer is not None:
            for other in waiting:
                if other.answer is None and code in _OVERTAKES.get(other.verb, ()):
                    return Turn(other)
        if head.verb == "ABOR" and len(waiting) > 1 and code not in _ABOR_REPLIES:
            # The 226 before it was for ABOR and the transfer together, not for the transfer alone (F10).
            self.settle(head)
            return self.turn(code)
        answered = self._told_by(code)
        return Turn(answered, self._give_up_before(answered))

    def _told_by(self, code: int) -> Pending:
        head, verbs = self.oldest, self._telling.get(code, frozenset())
        # The greeting is the first reply, whatever its code. A reply to an unknown command is not known either, unless
        # it is about a data connection.
        is_open = not head.verb or (head.verb not in wire.KNOWN and code not in _OF_DATA)
        if is_open or (head.verb in verbs and not (code < 200 and head.has_begun())):
            return head
        for other in self._waiting:
            if other.answer is None and other.verb in verbs and not (code < 200 and other.has_begun()):
                return other
        return head

    def _give_up_before(self, answered: Pending) -> Sequence[Pending]:
        if self._waiting[0] is answered:
            return ()
        lost = [
            pending
            for pending in takewhile(lambda pending: pending is not answered, self._waiting)
            # Another reply than that of the next transfer may have overtaken a transfer.
            if pending.answer is None and (pending.transfer is None or answered.transfer is not None)
        ]
        for pending in lost:
            self.settle(pending)
        return lost

    def settle(self, answered: Pending) -> None:
        """This command has its final reply; answers of ours that waited behind it are due."""
        self._waiting.remove(answered)
        while self._waiting and (answer := self._waiting[0].answer) is not None:
            self._out.send(Side.CLIENT, answer)
            self._waiting.popleft()

    def is_logging_in(self) -> bool:
        """Whether a command that may log in waits for its reply."""
        return any(pending.verb in wire.LOGIN and pending.answer is None for pending in self._waiting)

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
