"""DNS over UDP and TCP: questions go on, and so do the answers that they wait for (RFC 1035, RFC 7766).

Ids in comments (DN8) are those of `protocols/FACTS.md`.

    client -> server   a question: it waits for its answer from now on (questions.py)
    server -> client   its answer: addresses in it are translated, or it is refused (answers.py)
    all are answered   over UDP the session stands for a moment, to see a second answer (DN9), and then is over (DN6)

What each must believe:
1) The client asked `server_as_seen` from one port, and takes the answer from there, to its own id and question (DN8).
2) The server knows the client by `client_as_seen`, whose port nobody can guess (DN10).

House rules:
- What need not be understood passes byte for byte: EDNS, cookies, types that are not known (DN3, DN4).
- A message that is refused is answered in the protocol where it was a question, and dropped where it was an answer: the
  true answer may still come.
- No pinhole is ever asked for (DN26).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from protocols.contract.addresses import Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Close, Effect, Outbox, Send, Splice, violation
from protocols.contract.engine import Engine, Helper, Tally
from protocols.contract.pinholes import Pinholes
from protocols.dns.answers import Policy
from protocols.dns.exchange import Exchange, Passed, Seen, check_header, read_question
from protocols.dns.options import PERMITS, DnsOptions
from protocols.dns.stream import LENGTH_BYTES, Messages, framed
from protocols.dns.wire import HEADER_BYTES, is_stateful
from protocols.toolbox.copies import message_copied

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_LINGERING = 2000
MAX_LINGERING_OF_CLIENT = 50
"""How many sessions stand behind their last answer at once, of all clients and of one. A client that asks from a new
port each time may have more sessions in a second than it may have at once; those beyond this end with their answer."""
UNREAD_SECONDS = 180.0
"""For how long a session may be silent that is relayed unread."""
MAX_POLICIES = 64
"""How many policies are kept as they were compiled. A reload brings new ones."""


class Lingering:
    """The sessions of a daemon that stand behind their last answer."""

    __slots__ = ("_of", "_total")

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        """client -> its sessions. It is a text, which remembers its hash."""
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def take(self, client: str) -> bool:
        """Whether one more session of this client may stand."""
        if self._total >= MAX_LINGERING or self._of.get(client, 0) >= MAX_LINGERING_OF_CLIENT:
            return False
        self._of[client] += 1
        self._total += 1
        return True

    def give(self, client: str) -> None:
        """One of them is over, or asks again."""
        self._total -= 1
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]


class DatagramEngine(Engine):
    """A session over UDP: whatever one port of a client asks one server."""

    __slots__ = ("_client", "_ends_at", "_exchange", "_is_copied", "_is_new", "_lingering", "_lingers", "_options")

    def __init__(self, peers: Peers, options: DnsOptions, exchange: Exchange, lingering: Lingering) -> None:
        self._client = peers.client.host_text
        self._options = options
        self._exchange = exchange
        self._lingering = lingering
        self._is_new = True
        """Whether nothing has come yet."""
        self._is_copied = False
        self._ends_at: float | None = None
        """When the session is over. None: a question waits."""
        self._lingers = False
        """Whether it counts as one that stands behind its last answer."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        exchange = self._exchange
        is_new, self._is_new = self._is_new, False
        if side is CLIENT:
            if is_new and self._options.not_dns == "pass" and not is_question(data):
                return (Send(SERVER, data), Splice(UNREAD_SECONDS))
            passed = exchange.from_client(data, now)
            if self._ends_at is not None and len(exchange.questions):
                self._go_on()
            return self._performed(side, data, passed, exchange.expire(now))
        before = len(exchange.questions)
        passed = exchange.from_server(data, now)
        if before and not len(exchange.questions):
            return self._performed(side, data, passed, self._answered(now))
        return self._performed(side, data, passed)

    def _performed(self, side: Side, data: bytes, passed: Passed, more: Iterable[Effect] = ()) -> Sequence[Effect]:
        effects: list[Effect] = [*passed.notes]
        if passed.to_server is not None:
            effects.append(Send(SERVER, passed.to_server))
        if passed.to_client is not None:
            effects.append(Send(CLIENT, passed.to_client))
        effects += more
        return effects if not self._is_copied else message_copied(side, data, effects)

    def _answered(self, now: float) -> Sequence[Effect]:
        """No question waits any more (DN6)."""
        if self._lingering.take(self._client):
            self._lingers = True
            self._ends_at = now + self._options.linger_seconds
            return ()
        if self._options.mode == "observe":  # what an observed step ends goes on; what its clock ends does not
            self._ends_at = now
            return ()
        return (Close("answered"),)

    def _go_on(self) -> None:
        """The session does not end as it was to."""
        self._ends_at = None
        if self._lingers:
            self._lingers = False
            self._lingering.give(self._client)

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted

    def is_done(self) -> bool:
        return self._ends_at is not None

    def deadline(self) -> float | None:
        """When the session ends behind its last answer. One that has none ends for silence (`Helper.idle`)."""
        return self._ends_at

    def tick(self, now: float) -> Sequence[Effect]:
        return () if self._ends_at is None or now < self._ends_at else (Close("answered"),)

    def stop(self, now: float) -> Sequence[Effect]:
        self._go_on()
        return self._exchange.stop(now)


class StreamEngine(Engine):
    """A TCP connection, on which questions and answers follow each other in any order (DN2)."""

    __slots__ = ("_exchange", "_finished", "_has_begun", "_idle_at", "_is_copied", "_messages", "_options")

    def __init__(self, options: DnsOptions, exchange: Exchange, now: float) -> None:
        self._options = options
        self._exchange = exchange
        self._messages = {side: Messages() for side in Side}
        self._has_begun = False
        """Whether the first message of the client is one of DNS."""
        self._idle_at = now + options.stream_idle
        self._finished: set[Side] = set()
        """The sides that have been told that no byte follows."""
        self._is_copied = False

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        messages, out = self._messages[side], Outbox()
        messages.push(data)
        if not self._has_begun:
            begins = side is CLIENT and _begins(messages.peek(LENGTH_BYTES + HEADER_BYTES))  # no server speaks first
            if begins is False:
                return self._is_none()
            self._has_begun = begins is True
        while (message := messages.pop()) is not None:
            self._idle_at = now + self._options.stream_idle
            if len(message) < HEADER_BYTES:
                out.add(violation("dns.malformed", "no message", "closed"))
                out.add(Abort("malformed"))
                break
            passed = (
                self._exchange.from_client(message, now) if side is CLIENT else self._exchange.from_server(message, now)
            )
            self._perform(side, message, passed, out)
        return out.take()

    def _perform(self, side: Side, message: bytes, passed: Passed, out: Outbox) -> None:
        for note in passed.notes:
            out.add(note)
        effects: list[Send] = [
            Send(to, framed(sent))
            for to, sent in ((SERVER, passed.to_server), (CLIENT, passed.to_client))
            if sent is not None and to not in self._finished
        ]
        if self._is_copied:
            for effect in message_copied(side, message, effects):
                out.add(effect)
        else:
            for send in effects:
                out.send(send.to, send.data)

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        self._finished.add(side.other)
        return super().eof(side, now)

    def _is_none(self) -> Sequence[Effect]:
        """The client does not speak DNS (DN5)."""
        if self._options.not_dns == "deny":
            return (
                violation("dns.not_dns", "a connection that does not begin with a question", "closed"),
                Abort("not_dns"),
            )
        rest = [
            Send(side.other, rest)
            for side, messages in self._messages.items()
            if (rest := messages.rest()) and side.other not in self._finished
        ]
        return (*rest, Splice(self._options.stream_idle))

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted

    def deadline(self) -> float:
        return self._idle_at

    def tick(self, now: float) -> Sequence[Effect]:
        return () if now < self._idle_at else (Close("idle"),)

    def stop(self, now: float) -> Sequence[Effect]:
        return self._exchange.stop(now)


def _begins(data: bytes) -> bool | None:
    """Whether a connection begins with a question, as far as its length and header tell. None: too little has come."""
    length = int.from_bytes(data[:LENGTH_BYTES], "big")
    if len(data) >= LENGTH_BYTES and length < HEADER_BYTES:
        return False
    if len(data) < LENGTH_BYTES + HEADER_BYTES:
        return None
    header = data[LENGTH_BYTES:]
    if not header[2] & 0x80 and is_stateful(header):
        return True
    try:
        check_header(header)
    except Malformed:
        return False
    return True


def is_question(data: bytes) -> bool:
    """Whether a datagram is a question, so that a session may begin with it."""
    try:
        read_question(data)
    except Malformed:
        return False
    return True


class DnsEngines:
    """Makes the engines of one daemon, which share what they have seen."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._lingering = Lingering()
        self._policies: dict[int, tuple[DnsOptions, Policy]] = {}
        """Options, by which object they are -> the same, compiled."""

    def __call__(self, peers: Peers, options: DnsOptions, pinholes: Pinholes, now: float) -> Engine:
        is_stream = peers.transport is Transport.TCP
        exchange = Exchange(peers, options, self._policy(options), pinholes, self._seen, is_stream)
        if is_stream:
            return StreamEngine(options, exchange, now)
        return DatagramEngine(peers, options, exchange, self._lingering)

    def _policy(self, options: DnsOptions) -> Policy:
        known = self._policies.get(id(options))
        if known is None:
            if len(self._policies) >= MAX_POLICIES:
                self._policies.clear()
            known = self._policies[id(options)] = options, Policy(options)
        return known[1]

    def tallies(self) -> Sequence[Tally]:
        """What the sessions have seen, for metrics."""
        seen = self._seen
        return [
            Tally("dns_questions", "Questions that went to servers, by type", ("type",), _by_word(seen.questions)),
            Tally("dns_answers", "Answers that were waited for, by code", ("code",), _by_word(seen.answers)),
        ]

    def counts(self) -> Mapping[str, int]:
        """What waits, for the daemon's status."""
        return {"questions": self._seen.waiting.count}

    def standing(self) -> Mapping[str, int]:
        return {"questions": self._seen.waiting.count, "lingering": len(self._lingering)}


def _by_word(counts: Mapping[str, int]) -> Mapping[tuple[str, ...], int]:
    return {(word,): count for word, count in counts.items()}


def _may_begin(data: bytes, options: Any, role: object) -> bool:
    return options.not_dns == "pass" or is_question(data)


_WHY_OFF = "DNS passes without a helper; serve it to translate or check answers"

HELPER = Helper(
    name="dns",
    summary="DNS: answers that were asked for, and addresses in them as NAT has them",
    ports=((Transport.UDP, 53), (Transport.TCP, 53)),
    off={(Transport.UDP, 53): _WHY_OFF, (Transport.TCP, 53): _WHY_OFF},
    is_of_use=lambda options: options != DnsOptions(),
    options=DnsOptions,
    permits=PERMITS,
    least={
        "unanswered_seconds": (5, "stub resolvers wait for five seconds"),
        "stream_idle": (10, "clients keep a connection for their next question"),
    },
    start=DnsEngines,
    begins=_may_begin,
    idle=lambda options: options.unanswered_seconds,
    audit="counted",
)
