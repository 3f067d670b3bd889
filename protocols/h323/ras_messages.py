"""Messages of RAS: what is found in one, and which of them ask, and answer (RA1 to RA3)."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.contract.addresses import Endpoint
from protocols.h323 import names
from protocols.h323.calls import MAX_ALIAS
from protocols.h323.names import Draft
from protocols.h323.per import Found
from protocols.h323.walker import Other

ANSWERED = {
    "gatekeeperRequest": ("gatekeeperConfirm", "gatekeeperReject"),
    "registrationRequest": ("registrationConfirm", "registrationReject"),
    "unregistrationRequest": ("unregistrationConfirm", "unregistrationReject"),
    "admissionRequest": ("admissionConfirm", "admissionReject"),
    "locationRequest": ("locationConfirm", "locationReject"),
}
"""Requests whose answers mean something here, each with them."""
NAMING = {
    "gatekeeperRequest": "rasAddress",
    "registrationRequest": "rasAddress",
    "locationRequest": "replyAddress",
}
"""Requests that say where their answers are to go, and under which label (RA4)."""
ANSWERED_AT = frozenset(NAMING.values())
"""Labels of addresses at which answers are heard."""
ANSWERS = frozenset(answer for answers in ANSWERED.values() for answer in answers)


@dataclass(frozen=True, slots=True)
class Message:
    """What was found in a datagram."""

    kind: str
    values: dict[str, object]
    addresses: list[tuple[str, int, Endpoint]]
    features: frozenset[object]
    """Numbers of H.460, which are offered or granted."""

    @property
    def number(self) -> int:
        """By which its answer is known."""
        value = self.values.get("requestSeqNum", 0)
        return value if isinstance(value, int) else 0

    def text(self, label: str) -> str:
        """A string, cut to what is kept."""
        value = self.values.get(label)
        return value[:MAX_ALIAS] if isinstance(value, str) else ""

    def at(self, label: str) -> Endpoint | None:
        """The first address under this label."""
        return next((at for known, _, at in self.addresses if known == label), None)


def read(data: bytes, found: list[Found], draft: Draft) -> Message:
    """The message that has been walked. The draft hears of addresses that are none of IP."""
    values: dict[str, object] = {}
    addresses: list[tuple[str, int, Endpoint]] = []
    for label, start, end, value in found:
        if isinstance(value, Other):
            draft.keep(label, None, str(value))
        elif value is None:
            addresses.append((label, start, names.endpoint(data[start:end])))
        else:
            values.setdefault(label, value)
    features = frozenset(value for label, _, _, value in found if label == "feature")
    return Message(str(values.get("message")), values, addresses, features)


def kind_of(data: bytes) -> int | None:
    """The number of a message in RasMessage; those behind the extension marker count from 25. None: it is none."""
    if len(data) < 3 or (data[0] & 0x40 and data[0] & 0x80):
        return None
    if data[0] & 0x80:
        return 25 + (data[0] & 0x3F) if data[0] & 0x3F < 16 else None
    number = data[0] >> 2 & 0x1F
    return number if number < 25 else None


_REQUESTS = frozenset((0, 3, 6, 9, 12, 15, 18, 21, 22, 23, 26, 30))
"""GRQ, RRQ, URQ, ARQ, BRQ, DRQ, LRQ, IRQ, IRR, nonStandard, RAI, SCI: what may come unasked."""


def is_request(data: bytes) -> bool:
    """Whether a datagram can be the first of a session."""
    return kind_of(data) in _REQUESTS


def is_answer(data: bytes) -> bool:
    """Whether a datagram answers another one."""
    number = kind_of(data)
    return number is not None and number not in _REQUESTS
