"""What becomes of an answer on its way to the client: addresses in it are translated, or it is refused.

    records -> places of addresses -> who takes whose place -> signed? -> written in place, TTL lowered, AD cleared

An address is replaced by value, once (DN20), and never one that a signature covers unless an option says so (DN18).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple

from protocols.contract.addresses import Malformed, Peers, Side
from protocols.contract.effects import Note
from protocols.contract.pinholes import Pinholes
from protocols.dns.addresses import Pairs, is_inside, places
from protocols.dns.options import DnsOptions
from protocols.dns.questions import Question
from protocols.dns.rebuild import rebuilt
from protocols.dns.reverse import address_of, name_of
from protocols.dns.wire import (
    AUTHENTIC,
    CHECKING_DISABLED,
    HEADER_BYTES,
    IN,
    POINTER,
    Header,
    Names,
    Record,
    Type,
    read_header,
    read_records,
    text_of_name,
    type_name,
    wire_of_name,
)

LEAST_DATAGRAM = 512
"""The bytes of a datagram that everybody takes (RFC 1035 s.2.3.4). OPT tells of more (RFC 6891 s.6.2.3)."""
_PTR_IN = b"\0\x0c\0\x01"
_SEALS = (Type.TSIG, Type.SIG)
_DNSSEC_OK = 0x80
"""DO, in the third byte of what is the TTL of other records (RFC 3225)."""

MOST_TRANSLATED = 256
"""How many addresses of an answer are translated. No name of a site that has NAT has more, and a server that says more
has us work for it."""
MOST_TOLD = 16
"""How many of them one line of the log tells of."""

_Set = tuple[bytes, int]
"""The records of one name (without compression, in lower case) and one type: what a signature covers."""


class Refused(Exception):
    """The answer must not reach the client. The words are for the log."""


@dataclass(slots=True)
class Answer:
    """A message of which the records have been read."""

    message: bytes
    header: Header
    records: Sequence[Record]
    names: Names
    kinds: Set[int]
    """The types that the records have."""
    _names: dict[bytes, bytes] = field(default_factory=dict)
    """Pointer -> the name that it stands for. Most names of records are pointers, and the same few."""

    @classmethod
    def read(cls, message: bytes, end: int) -> Answer:
        """Read a message, whose question ends at `end`. Raises Malformed."""
        header = read_header(message)
        records, names = read_records(message, header, end)
        return cls(message, header, records, names, {record.type for record in records})

    def name(self, record: Record) -> bytes:
        """The name of a record, without compression."""
        at = record.name_at
        if self.message[at] < POINTER:
            return self.names.labels(at)
        pointer = self.message[at : at + 2]
        name = self._names.get(pointer)
        if name is None:
            name = self._names[pointer] = self.names.labels(at)
        return name

    def set_of(self, record: Record) -> _Set:
        """The set that a record belongs to. A signature belongs to the set that it covers."""
        kind = record.type
        if kind == Type.RRSIG and record.end - record.data_at >= 2:
            kind = int.from_bytes(self.message[record.data_at : record.data_at + 2], "big")
        return self.name(record).lower(), kind

    def signatures(self, of: set[_Set]) -> list[Record]:
        """The signatures that cover one of these sets."""
        if Type.RRSIG not in self.kinds:
            return []
        return [record for record in self.records if record.type == Type.RRSIG and self.set_of(record) in of]

    def is_sealed(self) -> bool:
        """Whether the whole message is signed (RFC 8945, RFC 2931)."""
        return not self.kinds.isdisjoint(_SEALS) and any(
            record.type == Type.TSIG
            or (record.type == Type.SIG and self.message[record.data_at : record.data_at + 2] == b"\0\0")
            for record in self.records
        )


class Renamed(NamedTuple):
    """A question that asks for another name than the client's."""

    message: bytes
    name: bytes
    """Without compression, in lower case."""
    most_bytes: int
    """The longest datagram that the client takes."""


@dataclass(slots=True)
class Change:
    """An address that is replaced."""

    record: Record
    at: int
    before: bytes
    after: bytes


@dataclass(slots=True)
class Judged:
    """What is to be done with the addresses of an answer."""

    changes: list[Change] = field(default_factory=list)
    ambiguous: list[tuple[Record, bytes]] = field(default_factory=list)
    """Addresses that policies map to several others."""


class Policy:
    """What the options of a policy mean for its answers. Sessions of the same policy share it."""

    def __init__(self, options: DnsOptions) -> None:
        self.pairs = Pairs(options.translate)
        self.is_published = options.published == "translate"
        self.refuses = options.rebinding == "refuse"
        self.reads = bool(self.pairs) or self.is_published or self.refuses
        """Whether the records of answers are looked at."""
        self.local = tuple(wire_of_name(name) for name in options.local_domains)
        self.dnssec = options.dnssec
        self.ttl = max(1, int(options.translated_ttl))
        self.translates_names = options.ptr and options.mode == "active"
        """An observer passes each question on as it came, so its answer is to that one."""

    def is_local(self, question: bytes) -> bool:
        """Whether the name of this question lies in one of the local domains."""
        name = question[:-4].lower()
        at = 0
        while True:
            if name[at:] in self.local:
                return True
            if at >= len(name) or not name[at]:
                return False
            at += name[at] + 1


class Answers:
    """Reads the answers of one session."""

    __slots__ = ("_peers", "_pinholes", "_policy")

    def __init__(self, policy: Policy, peers: Peers, pinholes: Pinholes) -> None:
        self._policy = policy
        self._peers = peers
        self._pinholes = pinholes

    # -- questions ---------------------------------------------------------------------------------------------------

    def for_server(self, message: bytes, end: int) -> Renamed | None:
        """The question for the name of the address that the server knows, if this one, which ends at `end`, is for the
        name of an address that stands in its place (PTR). None: it goes on as it came. Raises Malformed."""
        section = message[HEADER_BYTES:end]
        if section[-4:] != _PTR_IN or (address := address_of(section[:-4])) is None:
            return None
        before = self._before(address)
        if before is None:
            return None
        asked = Answer.read(message, end)
        opt = next((record for record in asked.records if record.type == Type.OPT), None)
        checks = asked.header.flags & CHECKING_DISABLED or (opt is not None and message[opt.ttl_at + 2] & _DNSSEC_OK)
        if asked.is_sealed() or (checks and self._policy.dnssec == "keep"):
            return None
        name = name_of(before)
        most = LEAST_DATAGRAM if opt is None else max(LEAST_DATAGRAM, opt.klass)
        return Renamed(rebuilt(message, asked.header, name + _PTR_IN, asked.records, asked.names), name, most)

    def _before(self, address: bytes) -> bytes | None:
        """The address in whose place this one stands."""
        before = self._policy.pairs.before(address)
        if before is None and self._policy.is_published:
            found = self._pinholes.reached_at(ip_address(address))
            before = next(iter(found)).packed if len(found) == 1 else None
        return before

    # -- answers -----------------------------------------------------------------------------------------------------

    def through(self, message: bytes, end: int, question: Question) -> tuple[bytes, list[Note]]:
        """The answer as the client gets it, and lines for the log. `end` is where its question ends. Raises Malformed,
        and Refused."""
        answer = Answer.read(message, end)
        judged = self._judge(answer, question)
        notes = [self._kept(answer, "ambiguous", judged.ambiguous)] if judged.ambiguous else []
        is_renamed = question.as_asked is not None
        if not (judged.changes or is_renamed):
            return message, notes
        if answer.is_sealed():
            if is_renamed:
                raise Malformed("an answer that is signed to a question that is not")
            return message, [*notes, self._kept(answer, "signed", [(one.record, one.before) for one in judged.changes])]
        concerned = {answer.set_of(change.record) for change in judged.changes}
        if is_renamed:
            concerned.add((question.name, Type.PTR))
        signatures = answer.signatures(concerned)
        if signatures and self._policy.dnssec == "keep":
            signed = {answer.set_of(record) for record in signatures}
            kept = [one for one in judged.changes if answer.set_of(one.record) in signed]
            if kept:
                notes.append(self._kept(answer, "signed", [(one.record, one.before) for one in kept]))
            judged.changes = [one for one in judged.changes if answer.set_of(one.record) not in signed]
            concerned -= signed
        if not (judged.changes or is_renamed):
            return message, notes
        answer.message = _written(answer, judged.changes, concerned, self._policy.ttl)
        if judged.changes:
            notes.append(_told(answer, judged.changes))
        leave_out = frozenset(signatures if self._policy.dnssec == "strip" else ())
        if leave_out or is_renamed:
            answer.message = self._rebuilt(answer, end, question, leave_out)
        return answer.message, notes

    def _judge(self, answer: Answer, question: Question) -> Judged:
        judged, policy = Judged(), self._policy
        is_refused = policy.refuses and not policy.is_local(question.key[2:])
        for record, at, size in places(answer.message, answer.records):
            before = answer.message[at : at + size]
            after = policy.pairs.after(before)
            if after is None and policy.is_published:
                found = self._pinholes.reached_as(ip_address(before))
                if len(found) > 1:
                    judged.ambiguous.append((record, before))
                elif found:
                    after = next(iter(found)).packed
            if after is not None and after != before:
                judged.changes.append(Change(record, at, before, after))
                if len(judged.changes) > MOST_TRANSLATED:
                    raise Malformed("more addresses to translate than a name has")
            elif after is None and is_refused and (is_inside(before) or self._is_ours(before)):
                raise Refused(f"{_name(answer, record).decode('latin-1')} at {_text(before)}")
        return judged

    def _is_ours(self, address: bytes) -> bool:
        """Whether this is an address of this gateway, as far as the session shows one."""
        peers = self._peers
        return any(peers.is_mapped(side) and peers.as_seen(side).host.packed == address for side in Side)

    def _rebuilt(self, answer: Answer, end: int, question: Question, leave_out: Set[Record]) -> bytes:
        asked, server_name = question.as_asked, question.name
        section = answer.message[HEADER_BYTES:end] if asked is None else asked
        client_name = section[:-4]

        def renamed(name: bytes) -> bytes:
            return client_name if asked is not None and name.lower() == server_name else name

        return rebuilt(answer.message, answer.header, section, answer.records, answer.names, leave_out, renamed)

    @staticmethod
    def _kept(answer: Answer, reason: str, kept: Sequence[tuple[Record, bytes]]) -> Note:
        addresses = list(dict.fromkeys(_text(address) for _, address in kept[:MOST_TOLD]))
        return Note("dns.kept", {"name": _name(answer, kept[0][0]), "addresses": addresses, "reason": reason})


def _written(answer: Answer, changes: Sequence[Change], concerned: set[_Set], ttl: int) -> bytes:
    """The message with these changes. All records of a set have one TTL (RFC 2181 s.5.2), and what was changed is not
    what anybody has checked (AD)."""
    message = bytearray(answer.message)
    for change in changes:
        message[change.at : change.at + len(change.after)] = change.after
    kinds = {Type.RRSIG, *(kind for _, kind in concerned)}
    for record in answer.records:
        if record.type in kinds and record.klass == IN and answer.set_of(record) in concerned:
            at = record.ttl_at
            if int.from_bytes(message[at : at + 4], "big") > ttl:
                message[at : at + 4] = ttl.to_bytes(4, "big")
    message[3] &= ~AUTHENTIC & 0xFF
    return bytes(message)


def _told(answer: Answer, changes: Sequence[Change]) -> Note:
    told: list[dict[str, Any]] = [
        {
            "field": type_name(change.record.type).encode() + b" " + _name(answer, change.record),
            "before": _text(change.before),
            "after": _text(change.after),
        }
        for change in changes[:MOST_TOLD]
    ]
    if len(changes) > MOST_TOLD:
        told.append({"field": f"and {len(changes) - MOST_TOLD} more", "before": None, "after": None})
    return Note("address.rewritten", {"message": "answer", "changes": told})


@lru_cache(maxsize=4096)
def _text(address: bytes) -> str:
    """An address as people write it. The same few are translated again and again."""
    return str(ip_address(address))


def _name(answer: Answer, record: Record) -> bytes:
    return text_of_name(answer.name(record))
