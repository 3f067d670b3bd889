"""The kernel's own helper, nf_conntrack_irc with nf_nat_irc, and the helper of pinhole: what each opens for the same
words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side
from protocols.irc.engine import HELPER
from protocols.irc.options import IrcOptions
from tests.harness.playbook import Session
from tests.netns.irc_talk import PORT, Talk, number, serving
from tests.netns.namespaces import needs_root
from tools.lab import Lab

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

CLIENT = Side.CLIENT

RULES = """
table ip kernel {
    ct helper irc { type "irc" protocol tcp; }
    chain prerouting { type filter hook prerouting priority filter; tcp dport 6667 ct helper set "irc"; }
    chain postrouting { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }
}
"""
REGISTERS = b"NICK alice\r\nUSER al 0 * :Alice\r\n"
OFFER = b"PRIVMSG bob :\x01DCC SEND file %s 5000 1\x01\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    parts: tuple[bytes, ...]
    """What the client says, each in a segment of its own. `%s`: its address."""
    kernel: bool
    """Whether the kernel's helper opens something."""
    ours: bool
    first: bytes = REGISTERS


CASES = (
    Case("plain", (OFFER,), True, True),
    Case("chat", (b"PRIVMSG bob :\x01DCC CHAT chat %s 5000\x01\r\n",), True, True),
    Case("name-in-quotes", (OFFER.replace(b"file", b'"my file"'),), False, True),
    Case("lower-case", (OFFER.replace(b"DCC SEND", b"dcc send"),), False, True),
    Case("with-tags", (b"@label=1 " + OFFER,), False, True),
    Case("second-of-a-segment", (b"PING :x\r\n" + OFFER,), False, True),
    Case("cut-in-the-number", (OFFER[:-7], OFFER[-7:]), False, True),
    Case("in-a-topic", (b"TOPIC #c :\x01DCC SEND file %s 5000 1\x01\r\n",), False, False),
    Case("of-a-stranger-to-many", (OFFER.replace(b"bob", b"#chan"),), True, False),
    Case("low-port", (OFFER.replace(b"5000", b"22"),), True, False),
    Case("before-the-welcome", (OFFER,), True, False, b"NICK alice\r\n"),
    Case("behind-a-request-of-http", (OFFER,), True, False, b"POST / HTTP/1.1\r\n"),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("nat") as lab, serving(lab.server):
        lab.firewall(RULES)
        yield lab


def opened_by_us(case: Case, parts: list[bytes]) -> int:
    """How many ways the helper of pinhole opens for the same words."""
    client, seen, server = (
        Endpoint(ip_address(host), port)
        for host, port in (("10.1.0.2", 40000), ("198.51.100.1", 40000), ("198.51.100.2", PORT))
    )
    session = Session.of(HELPER, Peers(client, seen, server, server), IrcOptions(dcc="allow"))
    session.receive(CLIENT, case.first)
    session.server(*[b":irc.example 001 alice :Welcome"] * (case.first == REGISTERS))
    for part in parts:
        session.receive(CLIENT, part)
    return len(session.pinholes.opened)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_opened(lab: Lab, case: Case) -> None:
    lab.gateway.run(["conntrack", "-F", "expect"])
    with Talk(lab.client, str(lab.server.v4), case.first) as talk:
        if case.first == REGISTERS:
            talk.register()
        elif not case.first.startswith(b"NICK"):
            talk.heard()
        parts = [part.replace(b"%s", number(talk.own).encode()) for part in case.parts]
        for part in parts:
            talk.say(part)
        if any(part.endswith(b"\r\n") for part in parts):
            talk.heard()
        found = lab.gateway.run(["conntrack", "-L", "expect"]).stdout
    assert ("dport=" in found) == case.kernel, found
    assert opened_by_us(case, parts) == case.ours
