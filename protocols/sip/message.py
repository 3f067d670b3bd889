"""A whole SIP message: what it says, as bytes and spans. reading.py makes one of a datagram, or refuses it.

RFC 3261 s.7, s.8.1.1 (what each message has), s.20 (header fields). Values of fields are read in values.py, when
somebody asks; what dialogs and registrations make of a message is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from protocols.contract.addresses import Malformed
from protocols.sip import odd
from protocols.sip.head import MAX_ID_BYTES, MAX_PHRASE_BYTES, BadMessage, CSeq, Head, line_and_column
from protocols.sip.remembered import BRANCH, read_address, read_uri, read_via
from protocols.sip.values import BLANKS, MAX_VALUES, Address, Via, split, stripped
from protocols.toolbox.memory import MAX_KEY_BYTES, short
from protocols.toolbox.spans import Span

Value = TypeVar("Value")


class Oddity(NamedTuple):
    """Something in a message that is not as the grammar has it, though the message goes on."""

    name: bytes
    """The name of the field, as in Field; empty for a line that is no field."""
    span: Span
    reason: str
    """One snake_case word for the log."""
    mended_at: tuple[int, int] | None = None
    """The line and column of what was mended, in the message as it came. `span` is empty then."""


@dataclass(slots=True)
class Message(Head):
    """A whole message that is what it should be."""

    uri: Span
    """The Request-URI; empty for a response."""
    status: int
    """100-699; 0 for a request."""
    call_id: bytes
    """The Call-ID, which is opaque and compared byte by byte. It is empty if the message names none; From has a tag
    then."""
    cseq: CSeq
    content_length: Span | None
    """Where the digits of Content-Length stand. Should there be more such fields, they say the same, and `spans` has
    them all."""
    body: Span
    oddities: list[Oddity] = field(default_factory=list)
    """What has been found so far that is not as the grammar has it. Values are read when somebody asks."""

    @property
    def from_tag(self) -> bytes | None:
        """The tag of From; None if there is none, as in RFC 2543. Raises BadMessage if it is too long."""
        return self._tag(b"from")

    @property
    def to_tag(self) -> bytes | None:
        """The tag of To; None outside of dialogs. Raises BadMessage if it is too long."""
        return self._tag(b"to")

    @property
    def trigger(self) -> str:
        """The message as the log calls it: INVITE, 200 INVITE."""
        method = self.cseq.method.decode("latin-1")
        return method if self.is_request else f"{self.status} {method}"

    def _tag(self, name: bytes) -> bytes | None:
        start, end = self.places[name][0]
        tag, _, oddity = odd.read_identity(self.data[start:end].strip(BLANKS))
        if oddity is not None:
            self.oddities.append(Oddity(name, stripped(self.data, start, end), oddity))
        if tag is not None and len(tag) > MAX_ID_BYTES:
            raise self._bad("tag_too_long", stripped(self.data, start, end).start)
        return tag

    def identity(self, name: bytes) -> bytes:
        """The URI of From or To, as it stands there."""
        start, end = self.places[name][0]
        return odd.read_identity(self.data[start:end].strip(BLANKS)).uri

    @property
    def phrase(self) -> bytes:
        """The words of a response's first line."""
        words = self.data.lstrip(b"\r\n").partition(b"\n")[0].split(None, 2)[2:]
        return words[0].strip()[:MAX_PHRASE_BYTES] if words else b""

    @property
    def branch(self) -> bytes:
        """The branch of the top Via, by which its sender knows the transaction; empty if there is none, or an odd
        one."""
        places = self.places.get(b"via")
        taken = BRANCH.search(self.data, *places[0]) if places else None
        if taken is None:
            return b""
        branch: bytes = taken[1]
        return branch if len(branch) <= MAX_KEY_BYTES else short(branch)

    def address(self, name: bytes) -> tuple[Span, Address]:
        """What From or To says. Each message has one of them, and the field is no list."""
        span = stripped(self.data, *self.places[name][0])
        return span, self.read(span, read_address)

    def request_uri(self) -> Address:
        """What the Request-URI says; spans are offsets into `uri`."""
        return self.read(self.uri, read_uri)

    def addresses(self, name: bytes) -> list[tuple[Span, Address]]:
        """Every value of these fields, in the order of the message: where it stands, and what it says. Raises
        BadMessage."""
        return [(part, self.read(part, read_address)) for part in self.parts(name)]

    def vias(self) -> list[tuple[Span, Via]]:
        """Every Via, the top one first. Raises BadMessage."""
        return [(part, self.read(part, read_via)) for part in self.parts(b"via")]

    def read(self, span: Span, read: Callable[[bytes], Value]) -> Value:
        """What the value at that place says. If the value is odd, this is what can be found in it, and the oddity is
        noted."""
        value = self.data[span.start : span.end]
        try:
            return read(value)
        except Malformed as error:
            self.oddities.append(Oddity(self._name_at(span.start), span, str(error)))
            return odd.found(value, read)

    def _name_at(self, at: int) -> bytes:
        """The name of the field that stands at that place."""
        for name, places in self.places.items():
            if any(start <= at <= end for start, end in places):
                return name
        return b"request-uri"

    def parts(self, name: bytes) -> list[Span]:
        """Where every value of these fields stands, in their order. Raises BadMessage for more than MAX_VALUES: what is
        not read cannot be mapped."""
        places = self.places.get(name)
        if places is None:
            return []
        if len(places) == 1 and self.data.find(b",", *places[0]) < 0:  # as nearly always
            only = stripped(self.data, *places[0])
            return [only] if only.start < only.end else []
        found: list[Span] = []
        for at in places:
            try:
                found += split(self.data, Span(*at))
            except Malformed as error:
                self.oddities.append(Oddity(name, stripped(self.data, *at), str(error)))
                found += odd.split(self.data, Span(*at))
            if len(found) > MAX_VALUES:
                raise self._bad("too_many_values", at[0])
        return found

    def _bad(self, reason: str, at: int) -> BadMessage:
        return BadMessage(reason, *line_and_column(self.data, at), head=self)

    def where(self, oddity: Oddity) -> str:
        """Why something is odd, and where it stands, as the log has it."""
        line, column = oddity.mended_at or line_and_column(self.data, oddity.span.start)
        return f"{oddity.reason} in line {line}, column {column}"
