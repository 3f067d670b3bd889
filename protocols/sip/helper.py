"""SIP as a helper: the engines of a daemon, what they have together, and what the registry knows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from protocols.contract import live
from protocols.contract.addresses import Peers, Transport
from protocols.contract.engine import Begun, Helper, Tally
from protocols.contract.pinholes import Pinholes
from protocols.sip.contacts import Called
from protocols.sip.engine import SipEngine
from protocols.sip.head import is_sip
from protocols.sip.options import PERMITS, SipOptions
from protocols.sip.table import SipTable


class SipEngines:
    """Makes the engines of one daemon, which share a table."""

    def __init__(self) -> None:
        self._table = SipTable()

    def __call__(self, peers: Peers, options: SipOptions, pinholes: Pinholes, now: float) -> SipEngine:
        return SipEngine(peers, options, pinholes, now, self._table)

    def counts(self) -> Mapping[str, int]:
        """What is under way, for the daemon's status."""
        calls = self._table.calls
        return {
            "calls": sum(map(len, calls.standing.values())),
            "media": len(calls.media),
            "contacts": len(self._table.contacts.standing),
            "registrations": sum(map(len, self._table.registrations.bindings.values())),
        }

    def calls(self) -> Iterator[live.Call]:
        """The calls that are not over."""
        for calls in tuple(self._table.calls.standing.values()):
            yield from (call.live() for call in tuple(calls) if call.ending is None)

    def registrations(self) -> Iterator[live.Registration]:
        """The bindings that stand."""
        for bindings in tuple(self._table.registrations.bindings.values()):
            for registrations, name in tuple(bindings):
                if (found := registrations.live(name)) is not None:
                    yield found

    def call_of(self, grant: int) -> live.Call | None:
        """The call whose media has this grant."""
        call = self._table.calls.media.get(grant)
        return None if call is None else call.live()

    def tallies(self) -> Sequence[Tally]:
        return self._table.seen.tallies()

    def standing(self) -> Mapping[str, int]:
        calls, contacts = self._table.calls, self._table.contacts
        return {
            "calls": len(calls.standing),
            "calls_of_clients": len(calls.of_client),
            "media": len(calls.media),
            "announced": len(calls.announced),
            "unanswered_offers": len(calls.unanswered),
            "contacts": len(contacts.standing),
            "inside": len(contacts.inside),
            "bindings": len(self._table.registrations.bindings),
        }


def begins(data: bytes, options: SipOptions, role: object) -> bool:
    """Whether a flow may begin with this datagram: what is no SIP costs nobody a socket."""
    return is_sip(data) or options.malformed == "pass"


SECRET = re.compile(
    rb"^((?:proxy-)?authorization[ \t]*:|a=crypto:[^\r\n]*?inline:)(?:[^\r\n]|\r?\n[ \t])+",
    re.MULTILINE | re.IGNORECASE,
)
"""The answer to a challenge (RFC 3261 s.22), over all its lines, and the keys of media (RFC 4568)."""

HELPER = Helper(
    name="sip",
    summary="SIP: calls, registrations and their media over UDP and TCP",
    ports=((Transport.UDP, 5060), (Transport.TCP, 5060)),
    options=SipOptions,
    permits=PERMITS,
    least={
        "ring_seconds": (180, "a call may ring for three minutes (RFC 3261 s.16.6, timer C)"),
        "media_idle": (10, "a party that is silent may send nothing for longer"),
        "call_idle": (1800, "a call without session timer has no signalling until its end"),
        "handshake_seconds": (5, "a lost packet is repeated after seconds"),
        "message_seconds": (5, "a lost packet is repeated after seconds"),
        "connection_idle": (120, "keep-alives come every two minutes (RFC 5626 s.4.4.1)"),
    },
    servers_begin=(Begun(Transport.UDP),),
    start=SipEngines,
    purposes=("rtp", "udptl", "sip"),
    hep=1,
    secret=SECRET,
    roles=(Called,),
    beside=Called(),
    begins=begins,
    answers=lambda data: data.startswith(b"SIP/2.0 "),
)
