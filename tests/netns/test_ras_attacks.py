"""Attacks on the helper of RAS, each really tried through a gateway that drops all else (RA2, RA4, RA12 to RA15)."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from tests.harness import h323_oracle
from tests.harness.h323_oracle import NO_UUIES, VERSION, At, decoded, encoded, transport
from tests.netns.h323_talk import REFUSED_SECONDS, bound, can_dial, opened, reaches, silent, waiting
from tests.netns.namespaces import needs_root
from tools.lab import Host, gateways
from tools.lab.gateways import HIDING, ROUTING, Gateway, Role

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(
        bool(h323_oracle.missing()), reason=f"not installed (tools/setup --test): {h323_oracle.missing()}"
    ),
]

RAS_PORT, CALL_PORT = 1719, 1720
VICTIM_PORT = 3389
"""Of a service at a host inside that nobody outside is to reach."""
FEW = 4
TERMINAL = {"mc": False, "undefinedNode": False}


def with_few(role: Role) -> Role:
    """The role with policies that let a session register few addresses."""
    options = f"options: {{ras: {{max_registrations: {FEW}}}, "
    return replace(role, policies=lambda lab: role.policies(lab).replace("options: {", options))


@pytest.fixture(scope="module", params=[ROUTING, HIDING], ids=lambda role: role.name)
def place(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    # No session ends because its peers get no processor for a while.
    with gateways.serving(with_few(request.param), "nft", idle_seconds=60) as gateway:
        yield gateway


class Talk:
    """An endpoint and a gatekeeper, each a socket."""

    def __init__(self, place: Gateway, endpoint: socket.socket, keeper: socket.socket, version: int) -> None:
        self.endpoint, self.keeper, self.version = endpoint, keeper, version
        self.host = str(place.client.address(version))
        self._to_keeper = str(place.server.address(version)), RAS_PORT
        self.seen: At = "", 0
        """Where the gatekeeper sees the endpoint."""

    def asks(self, kind: str, number: int, **more: Any) -> dict[str, Any]:
        """What the gatekeeper hears of a request."""
        self.endpoint.sendto(message(kind, number, **more), self._to_keeper)
        data, self.seen = self.keeper.recvfrom(65535)
        return dict(decoded("Ras", data)[1])

    def answers(self, kind: str, number: int, **more: Any) -> dict[str, Any]:
        """What the endpoint hears of an answer."""
        self.keeper.sendto(message(kind, number, **more), self.seen)
        return dict(decoded("Ras", self.endpoint.recv(65535))[1])

    def registers(self, number: int, *named: At) -> list[At]:
        """The addresses that the gatekeeper hears of when the endpoint names these."""
        heard = self.asks("registrationRequest", number, **registration(self.host, named))
        found = [at for _, at in heard["callSignalAddress"]]
        return [(str(ip_address(at["ip"])), at["port"]) for at in found]


def message(kind: str, number: int, **more: Any) -> bytes:
    return encoded("Ras", (kind, {"requestSeqNum": number, **more}))


def registration(host: str, named: Sequence[At]) -> dict[str, Any]:
    return {
        "protocolIdentifier": VERSION,
        "discoveryComplete": False,
        "callSignalAddress": [transport(at) for at in named],
        "rasAddress": [transport((host, 13030))],
        "terminalType": TERMINAL,
        "terminalAlias": [("dialledDigits", "101")],
        "endpointVendor": {"vendor": {"t35CountryCode": 184, "t35Extension": 0, "manufacturerCode": 39}},
        "timeToLive": 60,
        "keepAlive": False,
        "willSupplyUUIEs": False,
        "maintainConnection": False,
    }


CONFIRMED = {
    "protocolIdentifier": VERSION,
    "callSignalAddress": [],
    "endpointIdentifier": "one",
    "timeToLive": 60,
    "willRespondToIRR": False,
    "maintainConnection": False,
}
ADMISSION = {
    "callType": ("pointToPoint", 0),
    "endpointIdentifier": "one",
    "srcInfo": [("dialledDigits", "101")],
    "bandWidth": 640,
    "callReferenceValue": 1,
    "conferenceID": bytes(16),
    "activeMC": False,
    "answerCall": False,
    "canMapAlias": False,
    "willSupplyUUIEs": False,
}


@pytest.fixture
def talk(place: Gateway, request: pytest.FixtureRequest) -> Iterator[Talk]:
    """Over IPv4, unless a test says otherwise."""
    version: int = getattr(request, "param", 4)
    with bound(place.client, 13030, version) as endpoint, bound(place.server, RAS_PORT, version) as keeper:
        yield Talk(place, endpoint, keeper, version)


def violations(place: Gateway, rule: str) -> int:
    return len(place.daemon.audit("violation", rule=rule))


def unregister(place: Gateway, talk: Talk) -> None:
    """End what a test has registered."""
    talk.asks("unregistrationRequest", 99, callSignalAddress=[])
    talk.answers("unregistrationConfirm", 99)
    place.daemon.until(pinholes=0)


# -- who may call ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("talk", [4, 6], indirect=True, ids=["ipv4", "ipv6"])
def test_nobody_calls_before_the_gatekeeper_agrees_and_then_nobody_else_does(place: Gateway, talk: Talk) -> None:
    """RA12, RA14; and nobody does when the registration is over (RA13)."""
    with waiting(place.client, CALL_PORT, talk.version) as (listener, own):
        (at,) = talk.registers(1, own)
        assert (at == own) is not place.role.hides_client
        assert not reaches(place.server, at, listener, REFUSED_SECONDS)
        talk.answers("registrationConfirm", 1, **CONFIRMED)
        assert reaches(place.server, at, listener)
        assert not reaches(place.neighbour, at, listener, REFUSED_SECONDS)
        unregister(place, talk)
        assert not can_dial(place.server, at)


def test_answers_to_another_port_are_heard_of_the_gatekeeper_alone(place: Gateway, talk: Talk) -> None:
    """RA4: and what they agree to stands."""
    with bound(place.client, 13031) as hearing, waiting(place.client, CALL_PORT) as (listener, _):
        request = registration(talk.host, [(talk.host, CALL_PORT)]) | {"rasAddress": [transport((talk.host, 13031))]}
        heard = talk.asks("registrationRequest", 1, **request)
        (ras,), (called,) = (
            [(socket.inet_ntoa(at["ip"]), at["port"]) for _, at in heard[name]]
            for name in ("rasAddress", "callSignalAddress")
        )
        confirm = message("registrationConfirm", 1, **CONFIRMED)
        with bound(place.neighbour, RAS_PORT) as stranger:
            stranger.sendto(confirm, ras)
        with silent(hearing):
            hearing.recv(65535)
        assert not reaches(place.server, called, listener, REFUSED_SECONDS)
        talk.keeper.sendto(confirm, ras)
        data, sender = hearing.recvfrom(65535)
        assert (decoded("Ras", data)[0], sender) == ("registrationConfirm", (str(place.server.v4), RAS_PORT))
        assert reaches(place.server, called, listener)
        unregister(place, talk)


def test_another_host_that_answers_first_agrees_to_nothing(place: Gateway, talk: Talk) -> None:
    """RA2: two gatekeepers answer; the wrong one knows the number."""
    with waiting(place.client, CALL_PORT) as (listener, _), bound(place.neighbour, RAS_PORT) as other:
        (at,) = talk.registers(2, (talk.host, CALL_PORT))
        other.sendto(message("registrationConfirm", 2, **CONFIRMED), talk.seen)
        with silent(talk.endpoint):
            talk.endpoint.recv(65535)
        assert not reaches(place.server, at, listener, REFUSED_SECONDS)
        assert not reaches(place.neighbour, at, listener, REFUSED_SECONDS)
        talk.answers("registrationReject", 2, protocolIdentifier=VERSION, rejectReason=("securityDenial", 0))
        place.daemon.until(pinholes=0)


@pytest.mark.parametrize("number", [3, 65000])
def test_an_answer_that_nobody_has_asked_for_opens_nothing(place: Gateway, talk: Talk, number: int) -> None:
    """RA2: neither does a second kind of answer."""
    talk.asks("admissionRequest", 3, **ADMISSION)
    before, told = opened(place.daemon), violations(place, "ras.unsolicited")
    talk.answers("registrationConfirm", number, **CONFIRMED | {"callSignalAddress": [transport((talk.host, 3389))]})
    place.daemon.wait_for("violation", count=told + 1, rule="ras.unsolicited")
    assert opened(place.daemon) == before


# -- what may be named -------------------------------------------------------------------------------------------------


def test_only_its_own_host_is_registered(place: Gateway, talk: Talk) -> None:
    """RA12: another host inside, and a low port, are not opened; what the gatekeeper hears of them is as it was."""
    before, told = opened(place.daemon), violations(place, "ras.elsewhere")
    victim = str(place.clients[1].v4), VICTIM_PORT
    with waiting(place.clients[1], VICTIM_PORT):
        assert talk.registers(4, victim, (talk.host, 22)) == [victim, (talk.host, 22)]
        talk.answers("registrationConfirm", 4, **CONFIRMED)
        place.daemon.wait_for("violation", count=told + 2, rule="ras.elsewhere")
        assert opened(place.daemon) == before
        assert not can_dial(place.server, victim)


def test_more_than_a_session_may_register_is_dropped(place: Gateway, talk: Talk) -> None:
    told = violations(place, "ras.too_many_registrations")
    many = [(talk.host, 20000 + number) for number in range(FEW + 1)]
    with silent(talk.keeper):
        talk.registers(5, *many)
    place.daemon.wait_for("violation", count=told + 1, rule="ras.too_many_registrations")
    assert len(talk.registers(6, *many[:FEW])) == FEW
    talk.answers("registrationReject", 6, protocolIdentifier=VERSION, rejectReason=("securityDenial", 0))
    place.daemon.until(pinholes=0)


@pytest.mark.parametrize("who", ["endpoint", "beside it", "low port"])
def test_a_gatekeeper_sends_nobody_into_the_inside(place: Gateway, talk: Talk, who: str) -> None:
    """RA10, RA15: ACF and GCF that name the caller's own side, or a service."""
    hosts: dict[str, Host] = {"endpoint": place.client, "beside it": place.clients[1], "low port": place.server}
    target = str(hosts[who].v4), 22 if who == "low port" else VICTIM_PORT
    before, told = opened(place.daemon), violations(place, "ras.elsewhere")
    talk.asks("admissionRequest", 7, **ADMISSION)
    confirm = {
        "bandWidth": 640,
        "callModel": ("direct", 0),
        "destCallSignalAddress": transport(target),
        "willRespondToIRR": False,
        "uuiesRequested": NO_UUIES,
    }
    talk.answers("admissionConfirm", 7, **confirm)
    talk.asks(
        "gatekeeperRequest", 8, protocolIdentifier=VERSION, rasAddress=transport((talk.host, 13030)),
        endpointType=TERMINAL,
    )  # fmt: skip
    talk.answers("gatekeeperConfirm", 8, protocolIdentifier=VERSION, rasAddress=transport(target))
    place.daemon.wait_for("violation", count=told + 2, rule="ras.elsewhere")
    assert opened(place.daemon) == before


@pytest.mark.parametrize("data", [b"", b"\x0e", b"\x0e\x40\x00\x01\x06" + b"\xff" * 60, b"\xff" * 1400], ids=len)
def test_what_cannot_be_read_opens_nothing(place: Gateway, talk: Talk, data: bytes) -> None:
    """RA17."""
    talk.asks("admissionRequest", 9, **ADMISSION)
    before = opened(place.daemon)
    talk.endpoint.sendto(data, talk._to_keeper)
    assert talk.keeper.recv(65535) == data  # left behind, it would be taken for the next request
    talk.asks("admissionRequest", 10, **ADMISSION)
    assert opened(place.daemon) == before
