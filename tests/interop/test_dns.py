"""Every name server with every client, through a gateway in each role that drops all that pinhole does not carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways
from tools.lab.gateways import HIDING, ROLES, Gateway, Role
from tools.peers import dns
from tools.peers.dns import CLIENTS, MANY, SERVERS

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

PAIRS = '{203.0.113.0/28: 192.168.7.0/28, "2001:db8:7::/64": "fd07::/64"}'
"""Addresses that the servers name, and those that clients are to get."""
TRANSLATED = {"A": "192.168.7.5", "AAAA": "fd07::5"}
PATIENCE_SECONDS = 60
"""For an answer: on a busy machine a server may get no turn for seconds."""
TRANSLATING = f"dns: {{translate: {PAIRS}, ptr: true, unanswered_seconds: {PATIENCE_SECONDS}}}"
LATE = ("-t", str(PATIENCE_SECONDS))
"""For dnsperf, which takes an answer for lost after five seconds."""
QUICK_SECONDS = 20
"""glibc asks again after thirty seconds; who is answered at once is done long before."""


def translating(role: Role) -> Role:
    """The role, with addresses translated in answers."""

    def policies(lab: Lab) -> str:
        return role.policies(lab).replace("options: {", f"options: {{{TRANSLATING}, ")

    return Role(role.name, policies, role.hides_client, role.hides_server)


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(translating(request.param), "nft", idle_seconds=PATIENCE_SECONDS) as serving:
        yield serving


@pytest.mark.parametrize("name", SERVERS)
def test_addresses_are_asked_for_and_come_translated(gateway: Gateway, name: str) -> None:
    """DN15: by UDP and TCP, over IPv4 and IPv6, whatever asks, and whatever answers."""
    with SERVERS[name](gateway.server):
        for client in CLIENTS:
            for version, transport, (kind, expected) in product((4, 6), dns.TRANSPORTS, TRANSLATED.items()):
                found = client.ask(gateway.client, gateway.dialled(version), "www.example", kind, transport)
                assert found == [expected], f"{client.name} by {transport} over IPv{version}"
    assert [line["rule"] for line in gateway.daemon.audit("violation")] == []


@pytest.fixture(scope="class")
def server(gateway: Gateway) -> Iterator[None]:
    with dns.bind(gateway.server):
        yield


@pytest.mark.usefixtures("server")
class TestOneServer:
    """What no server does otherwise than another."""

    def test_both_addresses_come_at_once_to_a_resolver_that_asks_for_both(self, gateway: Gateway) -> None:
        """DN6: a gateway that closed with the first answer would cost it its time-out."""
        for version in (4, 6):
            found, seconds = dns.resolve(gateway.client, gateway.dialled(version), "www.example")
            assert found == ["192.168.7.5", "fd07::5"]
            assert seconds < QUICK_SECONDS

    def test_what_comes_along_and_hints_are_translated(self, gateway: Gateway) -> None:
        at = gateway.dialled(4)
        said = dns.dig(gateway.client, at, "_sip._udp.example", "SRV")
        assert re.search(r"www\.example\.\s+60\s+IN\s+A\s+192\.168\.7\.5", said)
        assert re.search(r"www\.example\.\s+60\s+IN\s+AAAA\s+fd07::5", said)
        assert "EDNS: version: 0" in said and "COOKIE" in said and "(good)" in said
        said = dns.dig(gateway.client, at, "bound.example", "HTTPS", "+short")
        assert said.strip() == '1 . alpn="h2" ipv4hint=192.168.7.5 ipv6hint=fd07::5'

    def test_the_name_of_a_translated_address_is_found(self, gateway: Gateway) -> None:
        said = dns.dig(gateway.client, gateway.dialled(4), "5.7.168.192.in-addr.arpa", "PTR", "+noall", "+answer")
        assert re.match(r"5\.7\.168\.192\.in-addr\.arpa\.\s+\d+\s+IN\s+PTR\s+www\.example\.", said)

    def test_an_answer_of_4000_bytes_comes_whole_by_datagram_or_by_tcp(self, gateway: Gateway) -> None:
        """DN3, DN11."""
        at = gateway.dialled(6)
        large = dns.dig(gateway.client, at, "long.example", "TXT", "+bufsize=4096", "+notcp", "+ignore")
        small = dns.dig(gateway.client, at, "long.example", "TXT", "+bufsize=1232")
        for said, transport in ((large, "UDP"), (small, "TCP")):
            assert said.count("\tTXT\t") == dns.LONG
            assert f"({transport})" in said

    def test_a_domain_that_is_not_there_is_said_so(self, gateway: Gateway) -> None:
        assert "status: NXDOMAIN" in dns.dig(gateway.client, gateway.dialled(4), "nobody.example", "A")
        assert "status: REFUSED" in dns.dig(gateway.client, gateway.dialled(4), "www.elsewhere", "A")

    def test_nothing_is_lost_of_as_many_as_can_be_asked(self, gateway: Gateway) -> None:
        """By few ports with a hundred questions each, and by many with few. Each port is a session, and of those a
        client has 200 at once: the last ones of the tests before may stand yet, behind their answers."""
        questions = ["www.example A", "nobody.example A"]
        for options in (("-c", "2"), ("-c", "100", "-q", "200")):
            done = dns.perform(gateway.client, gateway.dialled(4), questions, 1000, *LATE, *options)
            assert (done.sent, done.lost) == (2000, 0)

    @pytest.mark.parametrize("gateway", [HIDING], indirect=True, ids=[HIDING.name])
    def test_nothing_is_lost_of_a_hundred_thousand(self, gateway: Gateway) -> None:
        """Through ports that pinhole chooses. Most are asked by few ports, whose sessions stand all the while: of many
        ports each one's session is over and begins anew all the time, which takes longer."""
        questions = ["www.example A", "nobody.example A"]
        for options, rounds in ((("-c", "2"), 37_500), (("-c", "100", "-q", "200"), 12_500)):
            done = dns.perform(gateway.client, gateway.dialled(4), questions, rounds, *LATE, *options)
            assert (done.sent, done.lost) == (2 * rounds, 0)

    def test_sessions_are_counted_and_not_told_one_by_one(self, gateway: Gateway) -> None:
        dns.dig(gateway.client, gateway.dialled(4), "www.example", "A")
        assert gateway.daemon.audit("session.opened") == []
        assert gateway.daemon.audit("session.closed") == []
        assert gateway.daemon.audit("session.denied") == []


@pytest.mark.parametrize("serve", [dns.bind, dns.knot])
def test_a_zone_of_ten_thousand_records_is_transferred(gateway: Gateway, serve: dns.ServeMore) -> None:
    """DN2, DN22."""
    more = [f"n{number}.many A 203.0.113.{number % 16}" for number in range(MANY)]
    with serve(gateway.server, more):
        said = dns.dig(gateway.client, gateway.dialled(4), "example", "AXFR", "+noall", "+answer")
    assert said.count(".many.example.") == MANY
    assert "192.168.7." not in said


def test_signed_addresses_are_left_alone_and_others_are_not(gateway: Gateway) -> None:
    """DN18."""
    with dns.knot(gateway.server, is_signed=True):
        at, before = gateway.dialled(4), len(gateway.daemon.audit("dns.kept"))
        signed = dns.kdig(gateway.client, at, "www.example", "A", "+dnssec")
        assert "RRSIG" in signed and "203.0.113.5" in signed
        gateway.daemon.wait_for("dns.kept", count=before + 1)
        line = gateway.daemon.audit("dns.kept")[-1]
        assert (line["name"], line["addresses"], line["reason"]) == ("www.example.", ["203.0.113.5"], "signed")
        assert dns.kdig(gateway.client, at, "www.example", "A", "+short").split() == ["192.168.7.5"]


def test_without_its_helper_an_answer_names_what_its_client_cannot_reach() -> None:
    """A firewall that lets DNS pass, and knows nothing of it."""
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 meta l4proto { tcp, udp } th dport 53 accept
                meta l4proto icmpv6 accept
            }
            }
            """
        )
        with dns.unbound(lab.server):
            assert CLIENTS[0].ask(lab.client, lab.server.v4, "www.example", "A", "udp") == ["203.0.113.5"]
