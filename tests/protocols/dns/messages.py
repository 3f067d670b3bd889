"""Messages of DNS for tests, made by dnspython, which reads what comes of them, too."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.rrset

from protocols.contract.addresses import Side, Transport
from protocols.dns.engine import HELPER
from tests.harness.playbook import NETWORKS, Session, on

CLIENT, SERVER = Side.CLIENT, Side.SERVER
PORT = 40000

SIGNATURE = "{} 8 2 3600 20300101000000 20200101000000 12345 example. AAAA"


def question(name: str, kind: str = "A", number: int = 0x1234, **options: Any) -> bytes:
    wire: bytes = dns.message.make_query(name, kind, id=number, **options).to_wire()
    return wire


def answer(
    asked: bytes, *lines: str, more: tuple[str, ...] = (), authority: tuple[str, ...] = (), **flags: Any
) -> bytes:
    """The answer to a question, with records as in a zone: `www.example. 3600 IN A 192.0.2.1`. more: the additional."""
    message = dns.message.make_response(dns.message.from_wire(asked), recursion_available=True)
    for section, records in ((message.answer, lines), (message.authority, authority), (message.additional, more)):
        section += (dns.rrset.from_text(*line.split(maxsplit=4)[:4], line.split(maxsplit=4)[4]) for line in records)
    if flags.pop("authentic", False):
        message.flags |= dns.flags.AD
    if "code" in flags:
        message.set_rcode(flags["code"])
    wire: bytes = message.to_wire(max_size=65535)
    return wire


def read(message: bytes) -> Any:
    return dns.message.from_wire(message)


def records(message: bytes) -> list[str]:
    """Those of the answer and what comes along, as in a zone."""
    found = read(message)
    return [
        line for section in (found.answer, found.additional) for rrset in section for line in str(rrset).splitlines()
    ]


def asking(network: str = "none", transport: Transport = Transport.UDP, **options: Any) -> Session:
    return Session.of(HELPER, on(NETWORKS[network], HELPER, transport, PORT), HELPER.options(**options))


def through(session: Session, asked: bytes, answered: bytes) -> bytes:
    """What the client gets for its question."""
    session.receive(CLIENT, asked)
    assert session.sent(SERVER) == asked
    session.receive(SERVER, answered)
    return session.sent(CLIENT)
