"""Attacks on the helper of H.323, each really tried through a gateway that drops all else (HF8, HF42, HF43, HF45, HF60,
HF61)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.harness import h323_oracle
from tests.harness.h323_oracle import At, transport
from tests.netns.h323_talk import (
    PORT,
    Talk,
    acknowledge,
    bound,
    can_dial,
    connect,
    dialled,
    end_of,
    expected,
    facility,
    open_channel,
    opened,
    release,
    setup,
    silent,
    t120,
    tpkt,
    waiting,
)  # fmt: skip
from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways
from tools.lab.gateways import HIDING, ROUTING, Gateway

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(
        bool(h323_oracle.missing()), reason=f"not installed (tools/setup --test): {h323_oracle.missing()}"
    ),
]

KERNEL = """
table ip kernel {
    ct helper signalling { type "Q.931" protocol tcp; }
    chain prerouting { type filter hook prerouting priority filter; tcp dport 1720 ct helper set "signalling"; }
}
"""
VICTIM_PORT = 3389
"""Of a service at a host inside that nobody outside is to reach."""


MASQUERADE = """
table ip hiding {
    chain postrouting { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }
}
"""


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """One that routes, unless a test says otherwise."""
    with gateways.serving(getattr(request, "param", ROUTING), "nft") as gateway:
        yield gateway


with_and_without_nat = pytest.mark.parametrize(
    "place", [ROUTING, HIDING], ids=lambda role: role.name, indirect=True, scope="module"
)


@pytest.fixture
def talk(place: Gateway) -> Iterator[Talk]:
    with Talk(place.client, place.server, str(place.server.v4)) as talk:
        yield talk


def called(talk: Talk) -> None:
    """A call has begun, and was taken."""
    talk.passes(setup())
    talk.passes(connect(), is_from_client=False)


def violations(place: Gateway, rule: str) -> int:
    return len(place.daemon.audit("violation", rule=rule))


# -- what a browser can be made to send --------------------------------------------------------------------------------


def forwarding(to: At) -> bytes:
    """A Facility that sends its reader elsewhere."""
    return facility("callForwarded", is_from_callee=False, alternativeAddress=transport(to))


def post(inner: bytes) -> list[bytes]:
    """A form that a page has its browser send, of a length at which the next segment begins with what it is to be."""
    head = b"POST / HTTP/1.1\r\nHost: 198.51.100.2:1720\r\nContent-Type: multipart/form-data\r\n"
    body = b"Content-Length: 4000\r\n\r\n" + b"^" * 1200
    return [head + body, inner]


def turn(inner: bytes) -> list[bytes]:
    """An Allocate of TURN over TCP (RFC 5766) whose USERNAME is as long as its segment, and goes on in the next one:
    what WebRTC lets a page choose (slipstreaming of 2021)."""
    filler = b"u" * 1400
    value = filler + inner
    attribute = b"\x00\x06" + len(value).to_bytes(2, "big")
    head = b"\x00\x03" + (len(value) + 4).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12)
    return [head + attribute + filler, inner]


FORMS = {"post": post, "turn": turn}


def sent(talk: Talk, parts: list[bytes]) -> None:
    """Each part in a segment of its own."""
    for part in parts:
        talk.client.sendall(part)


@with_and_without_nat
@pytest.mark.parametrize("form", FORMS)
def test_slipstreaming_opens_nothing_where_the_kernels_helper_opens_a_third_host(place: Gateway, form: str) -> None:
    """HF61: the page of an attacker has a browser inside say these bytes to the attacker's port 1720."""
    is_hidden = place.role.hides_client
    with Lab("nat" if is_hidden else "routed") as lab:
        lab.firewall(KERNEL + (MASQUERADE if is_hidden else ""))
        target = str(lab.client_stranger.v4), VICTIM_PORT
        with Talk(lab.client, lab.server, str(lab.server.v4)) as talk:
            for part in FORMS[form](forwarding(target)):
                talk.client.sendall(part)
                assert talk.server.recv(65536)
            words = f"dst={lab.gateway.v4 if is_hidden else target[0]} ", f"dport={target[1]} "
            assert [line for line in expected(lab) if all(word in line for word in words)]
    target = str(place.clients[1].v4), VICTIM_PORT
    outside = str(place.lab.gateway.v4) if is_hidden else target[0], VICTIM_PORT
    before, told = opened(place.daemon), violations(place, "h323.not_h323")
    with waiting(place.clients[1], VICTIM_PORT):
        with Talk(place.client, place.server, str(place.server.v4)) as talk:
            with contextlib.suppress(ConnectionError):  # it is closed at the first octet
                sent(talk, FORMS[form](forwarding(target)))
            assert talk.is_closed()
        place.daemon.wait_for("violation", count=told + 1, rule="h323.not_h323")
        assert opened(place.daemon) == before
        assert not can_dial(place.server, outside)


FIRST: dict[str, Callable[[], bytes]] = {
    "tls": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "sip": lambda: b"INVITE sip:a@b SIP/2.0\r\n\r\n",
    "x224": lambda: tpkt(b"\x02\xf0\x80"),
    "short": lambda: b"\x03\x00\x00\x03",
    "connect": connect,
    "facility": lambda: forwarding(("10.1.0.3", 5000)),
}
"""What no call begins with."""


@with_and_without_nat
@pytest.mark.parametrize("first", FIRST)
def test_what_is_no_setup_is_closed_with_all_that_follows(place: Gateway, talk: Talk, first: str) -> None:
    """HF8: messages behind it are not looked for."""
    before, told = opened(place.daemon), violations(place, "h323.not_h323")
    inside = str(place.client.v4), 5000
    talk.client.sendall(FIRST[first]() + setup(h245Address=transport(inside)))
    assert talk.is_closed()
    place.daemon.wait_for("violation", count=told + 1, rule="h323.not_h323")
    assert opened(place.daemon) == before


@with_and_without_nat
def test_a_server_that_speaks_first_is_closed(place: Gateway, talk: Talk) -> None:
    told = violations(place, "h323.not_h323")
    talk.server.sendall(forwarding((str(place.clients[1].v4), 5000)))
    assert end_of(talk.client) == b""
    place.daemon.wait_for("violation", count=told + 1, rule="h323.not_h323")


# -- what a call may not name ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["callForwarded", "routeCallToGatekeeper", "routeCallToMC"])
@pytest.mark.parametrize("who", ["third", "low port", "beyond"])
def test_nobody_is_sent_to_another_host_by_way_of_a_hole(place: Gateway, talk: Talk, reason: str, who: str) -> None:
    """HF60: what the kernel's helper opens."""
    called(talk)
    before, told = opened(place.daemon), violations(place, "h323.forward_elsewhere")
    hosts = {"third": place.clients[1], "low port": place.client, "beyond": place.neighbour}
    target = str(hosts[who].v4), 22 if who == "low port" else VICTIM_PORT
    message = facility(reason, is_from_callee=True, alternativeAddress=transport(target))
    assert talk.passes(message, is_from_client=False) == message
    place.daemon.wait_for("violation", count=told + 1, rule="h323.forward_elsewhere")
    with waiting(hosts[who], target[1]):
        assert opened(place.daemon) == before
        assert not can_dial(place.server if who != "beyond" else place.client, target)


def test_who_is_sent_on_to_port_1720_calls_anew_as_policies_decide(place: Gateway, talk: Talk) -> None:
    """HF60: nothing is opened for it."""
    called(talk)
    before = opened(place.daemon)
    target = str(place.neighbour.v4), PORT
    message = facility("callForwarded", is_from_callee=True, alternativeAddress=transport(target))
    assert talk.passes(message, is_from_client=False) == message
    assert place.daemon.wait_for("call.forwarded", to=f"{target[0]}:{PORT}")["reason"] == "callForwarded"
    assert opened(place.daemon) == before


@pytest.mark.parametrize(
    ("at", "rule"),
    [
        (("127.0.0.1", 20000), "h323.elsewhere"),
        (("10.1.0.3", 20000), "h323.elsewhere"),
        (("198.51.100.1", 20000), "h323.elsewhere"),
        (("255.255.255.255", 20000), "h323.elsewhere"),
        (("0.0.0.0", 20000), "h323.elsewhere"),
        (("10.1.0.2", 22), "h323.low_port"),
    ],
)
def test_media_of_another_host_or_service_is_not_followed(place: Gateway, talk: Talk, at: At, rule: str) -> None:
    """HF43, in each message that may name it; the messages pass as they are."""
    before, told = opened(place.daemon), violations(place, rule)
    begin = setup(control=[open_channel(1, (at[0], at[1] + 1))])
    assert talk.passes(begin) == begin
    own = str(place.server.v4), 20000
    agreed = facility(
        "transportedInformation",
        acknowledge(1, own, (own[0], 20001)),
        open_channel(2, (own[0], 20001)),
        is_from_callee=True,
    )
    talk.passes(agreed, is_from_client=False)
    answer = facility("transportedInformation", acknowledge(2, at, (at[0], at[1] + 1)), is_from_callee=False)
    assert talk.passes(answer) == answer
    place.daemon.wait_for("violation", count=told + 2, rule=rule)
    listening = [line["listen"] for line in place.daemon.audit("pinhole.opened")[before:]]
    assert not [listen for listen in listening if listen.startswith(f"{at[0]}:")]


def test_more_channels_than_a_call_may_have_are_refused(place: Gateway, talk: Talk) -> None:
    called(talk)
    told = violations(place, "h323.too_many_channels")
    at = str(place.client.v4)
    for number in range(1, 101):
        message = facility(
            "transportedInformation", open_channel(number, (at, 20000 + 2 * number + 1)), is_from_callee=False
        )
        assert talk.passes(message) == message
    place.daemon.wait_for("violation", count=told + 1, rule="h323.too_many_channels")


def test_t120_is_not_opened_unless_a_policy_says_so(place: Gateway, talk: Talk) -> None:
    called(talk)
    before, told = opened(place.daemon), violations(place, "h323.t120")
    message = facility("transportedInformation", t120(5, (str(place.client.v4), 1503)), is_from_callee=False)
    assert talk.passes(message) == message
    place.daemon.wait_for("violation", count=told + 1, rule="h323.t120")
    assert opened(place.daemon) == before


# -- who else comes ----------------------------------------------------------------------------------------------------


def test_h245_is_for_the_other_party_and_for_one_connection(place: Gateway, talk: Talk) -> None:
    """HF45."""
    with waiting(place.client, 21000) as (listener, at):
        before = opened(place.daemon)
        talk.passes(setup(h245Address=transport(at)))
        place.daemon.wait_for("pinhole.opened", count=before + 1)
        assert not can_dial(place.neighbour, at)
        with dialled(place.server, at), listener.accept()[0]:
            assert not can_dial(place.server, at)


def test_media_of_a_third_host_is_not_let_in(place: Gateway, talk: Talk) -> None:
    """HF42."""
    with (
        bound(place.client, 22000) as near,
        bound(place.server, 22000) as far,
        bound(place.neighbour, 22000) as stranger,
    ):
        inside, outside = (str(place.client.v4), 22000), (str(place.server.v4), 22000)
        talk.passes(setup(control=[open_channel(1, (inside[0], 22001))]))
        answer = [acknowledge(1, outside, (outside[0], 22001)), open_channel(2, (outside[0], 22001))]
        talk.passes(facility("transportedInformation", *answer, is_from_callee=True), is_from_client=False)
        agreed = facility("transportedInformation", acknowledge(2, inside, (inside[0], 22001)), is_from_callee=False)
        talk.passes(agreed)
        talk.passes(connect(), is_from_client=False)
        for number in range(3):
            stranger.sendto(b"\x80\x00 of a stranger", inside)
            far.sendto(b"\x80\x00 of the callee", inside)
            assert near.recvfrom(2000) == (b"\x80\x00 of the callee", outside), number
        with silent(near):
            near.recv(2000)
        near.sendto(b"\x80\x00 of the caller", outside)
        assert far.recv(2000) == b"\x80\x00 of the caller"
        talk.passes(release())
        place.daemon.until(pinholes=0)
        far.sendto(b"\x80\x00 too late", inside)
        with silent(near):
            near.recv(2000)
