"""Commands and their responses: which response belongs to which command, and what was sent for each (RFC 3435 s.3.5).

MGCP goes over UDP, so whatever is not answered comes again, with the same bytes and the same id. A message that comes
again is sent on as it was the first time, and means nothing more (MG8, S62).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from protocols.contract.addresses import Side
from protocols.mgcp.connections import Connection
from protocols.mgcp.media import Change
from protocols.toolbox.clock import Clock

HISTORY_SECONDS = 32.0
"""For how long a message may come again: T-HIST of RFC 3435 s.3.5.1, and two seconds on the way."""
STEP_SECONDS = 1.0
"""Those of one second are forgotten at once."""
PROVISIONAL_SECONDS = 300.0
"""For how long a command may wait for its final response after a provisional one, as when somebody has to answer."""
MOST_OF_A_SIDE = 2048
"""How many transactions of one side are remembered. An agent that sets up twenty calls a second begins as many in half
a minute; the oldest is forgotten for the next one."""
MOST_BYTES = 512 * 1024
"""How many bytes of rewritten messages are remembered for one side."""
MOST_ANSWERS = 4
"""How many different responses to one command are remembered: a provisional one, the final one, and a final one that
counts other packets when the command has come again."""

Key = tuple[Side, int]
"""The side that commands, and the transaction id: each side numbers its own (MG8)."""


def digest(data: bytes) -> bytes:
    """By what a message is known when it comes again."""
    return blake2b(data, digest_size=16).digest()


@dataclass(slots=True, eq=False)
class Transaction:
    """A command, and what has become of it."""

    key: Key
    verb: bytes
    command: bytes
    """The digest of the command as it came."""
    name: bytes
    """The endpoint that the command is for."""
    endpoint: bytes
    """By what that endpoint is known here."""
    call_id: bytes = b""
    about: bytes = b""
    """The connection id that the command names."""
    sent: bytes | None = None
    """The command as it was sent on. None: as it came."""
    connection: Connection | None = None
    """The connection that the command makes or changes."""
    change: Change | None = None
    """What becomes of the connection if the command is accepted."""
    is_awaited: bool = True
    """Whether a final response is still to come."""
    answers: dict[bytes, bytes | None] = field(default_factory=dict)
    """digest of a response -> the response as it was sent on; None: as it came."""

    @property
    def by(self) -> Side:
        """The side that commands."""
        return self.key[0]

    @property
    def is_refused(self) -> bool:
        """Whether what the command was to make or change has been taken back."""
        return self.connection is not None and self.change is None

    @property
    def bytes_held(self) -> int:
        said = len(self.name) + len(self.endpoint) + len(self.call_id) + len(self.about)
        return said + len(self.sent or b"") + sum(len(answer or b"") for answer in self.answers.values())


class Transactions:
    """The transactions of one session."""

    __slots__ = ("_bytes", "_clock", "_of")

    def __init__(self) -> None:
        self._of: dict[Side, dict[int, Transaction]] = {side: {} for side in Side}
        self._bytes = dict.fromkeys(Side, 0)
        self._clock: Clock[Key] = Clock(STEP_SECONDS)

    def get(self, key: Key) -> Transaction | None:
        side, number = key
        return self._of[side].get(number)

    def begin(self, transaction: Transaction, now: float) -> Iterator[Transaction]:
        """Remember a transaction. Those that are forgotten for it are returned: one with the same id, and the oldest
        if there are too many."""
        side, number = transaction.key
        if (before := self.forget(transaction.key)) is not None:
            yield before
        while len(self._of[side]) >= MOST_OF_A_SIDE or self._bytes[side] > MOST_BYTES:
            oldest = self.forget((side, next(iter(self._of[side]))))
            assert oldest is not None
            yield oldest
        self._of[side][number] = transaction
        self._bytes[side] += transaction.bytes_held
        self._clock.set(transaction.key, now + HISTORY_SECONDS)

    def sent(self, transaction: Transaction, sent: bytes) -> None:
        """The command has gone on as these bytes."""
        transaction.sent = sent
        self._bytes[transaction.by] += len(sent)

    def answered(self, transaction: Transaction, came: bytes, sent: bytes | None, is_final: bool, now: float) -> None:
        """Remember a response by its digest, and what was sent on for it (None: the same)."""
        if len(transaction.answers) < MOST_ANSWERS:
            transaction.answers[came] = sent
            self._bytes[transaction.by] += len(sent or b"")
        transaction.is_awaited = transaction.is_awaited and not is_final
        self._clock.set(transaction.key, now + (HISTORY_SECONDS if is_final else PROVISIONAL_SECONDS))

    def repeated(self, transaction: Transaction, now: float) -> None:
        """The command has come again, so its sender has not got the response: another one may come."""
        transaction.is_awaited = True
        self._clock.set(transaction.key, now + HISTORY_SECONDS)

    def forget(self, key: Key) -> Transaction | None:
        side, number = key
        transaction = self._of[side].pop(number, None)
        if transaction is not None:
            self._bytes[side] -= transaction.bytes_held
            self._clock.forget(key)
        return transaction

    def next(self) -> float | None:
        """When the next transaction is to be forgotten."""
        return self._clock.next()

    def due(self, now: float) -> Iterator[Transaction]:
        """The transactions that are over by now."""
        for key in self._clock.due(now):
            if (transaction := self.forget(key)) is not None:
                yield transaction

    def all(self) -> Iterator[Transaction]:
        """Forget all."""
        for key in self._clock.all():
            if (transaction := self.forget(key)) is not None:
                yield transaction
