"""Addresses of messages that open nothing, as pycrate writes them: each is mapped by what stands there, or stays."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.contract.addresses import Side
from tests.harness import h323_oracle as oracle
from tests.harness.h323_oracle import encoded, transport
from tests.protocols.h323 import messages as m
from tests.protocols.h323.calls import CLIENT, SERVER, Calls, mapped
from tests.protocols.h323.test_engine import apart, tell
from tests.protocols.h323.test_ras import BESIDE, INSIDE, KEEPER, OURS, Daemon, registered

pytestmark = pytest.mark.skipif(
    bool(oracle.missing()), reason=f"not installed (tools/setup --test): {oracle.missing()}"
)


def unicast(at: str) -> tuple[str, Any]:
    """An address as H.245 has it."""
    octets = m.octets(at)
    return "unicastAddress", ("iPAddress", {"network": octets[:4], "tsapIdentifier": int.from_bytes(octets[4:], "big")})


def ip(at: str) -> tuple[str, Any]:
    """The same of H.225.0."""
    host, _, port = at.partition(":")
    return transport((host, int(port)))


# -- H.245 -------------------------------------------------------------------------------------------------------------


def modes(kind: str, *ports: int, host: str = INSIDE) -> bytes:
    """The table of a conference: where its media of each session is. kind: `command`, or the `response` to who asks."""
    table = [
        {
            "sessionID": number,
            "sessionDescription": "audio",
            "dataType": ("audioData", ("g711Ulaw64k", 20)),
            "mediaChannel": unicast(f"{host}:{port}"),
            "mediaControlChannel": unicast(f"{host}:{port + 1}"),
        }
        for number, port in enumerate(ports, 1)
    ]
    content = {"communicationModeTable": table} if kind == "command" else ("communicationModeTable", table)
    return encoded("Control", (kind, (f"communicationMode{kind.title()}", content)))


@pytest.mark.parametrize("kind", ["command", "response"])
def test_of_a_table_of_modes_only_what_has_a_place_is_mapped(kind: str) -> None:
    """HF32. Found by an audit: the second entry became an address of ours at which nothing stands."""
    calls = Calls()
    control = apart(calls)
    before = len(calls.log)
    assert tell(control, CLIENT, modes(kind, 5100, 5102)) == ["as it came"]
    assert calls.log[before:] == []
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5103"))
    assert calls.log[before:] == [f"offer rtp for {INSIDE}:5102 rtcp 5103 from {INSIDE} = {OURS}:40000"]
    control.receive(CLIENT, m.tpkt(modes(kind, 5100, 5102, 5104)))
    there = mapped(modes(kind, 5100, 5102, 5104), rtp=f"{INSIDE}:5102 {OURS}:40000", rtcp=f"{INSIDE}:5103 {OURS}:40001")
    assert control.sent(SERVER).endswith(m.tpkt(there))
    changes = control.notes("address.rewritten")[-1]["changes"]
    assert [change["field"] for change in changes] == ["mediaChannel", "mediaControlChannel"]


def located(at: str) -> bytes:
    """Where the MC of a conference can be called."""
    return encoded("Control", ("indication", ("mcLocationIndication", {"signalAddress": unicast(at)})))


def test_an_mc_is_known_where_it_has_registered() -> None:
    """RA20. Found by an audit: the other side read the inside address."""
    daemon = Daemon()
    registered(daemon.session(), f"{INSIDE}:1720")
    calls = Calls(engines=daemon.engines)
    control = apart(calls)
    control.receive(CLIENT, m.tpkt(located(f"{INSIDE}:1720")))
    assert control.sent(SERVER) == m.tpkt(located(f"{OURS}:61000"))
    control.receive(SERVER, m.tpkt(located(f"{OURS}:61000")))
    assert control.sent(CLIENT) == m.tpkt(located(f"{INSIDE}:1720"))


@pytest.mark.parametrize(
    ("network", "side", "at", "there"),
    [
        ("snat", CLIENT, f"{INSIDE}:1720", f"{INSIDE}:1720"),
        ("snat", SERVER, f"{KEEPER}:1720", f"{KEEPER}:1720"),
        ("dnat", SERVER, "10.0.0.5:1720", "203.0.113.7:1720"),
        ("dnat", SERVER, "10.0.0.5:2000", "10.0.0.5:2000"),
    ],
)
def test_an_mc_that_cannot_be_called_at_ours_is_not_said_to_be_there(
    network: str, side: Side, at: str, there: str
) -> None:
    """HF32: a published server can be called where it was."""
    calls = Calls(network)
    peers = calls.peers
    calls.say(CLIENT, m.setup(source=str(peers.client), dest=str(peers.server_as_seen)))
    calls.say(SERVER, m.answer("connect", h245=f"{peers.server.host}:4001"))
    control = calls.control()
    tell(control, CLIENT, m.open_channel(1, control=f"{peers.client.host}:1721"))  # media at the number of the port
    control.receive(side, m.tpkt(located(at)))
    assert control.sent(side.other).endswith(m.tpkt(located(there)))


def test_h245_beside_a_fast_start_opens_what_it_names() -> None:
    """HF28: parallelH245Control of a Setup."""
    calls = Calls()
    opened = m.open_channel(1, control=f"{INSIDE}:5001")
    fast = [m.channel(1, media=f"{INSIDE}:5000", is_reverse=True)]
    setup = m.setup(fast=fast, parallel=[opened, modes("command", 5000)])
    assert calls.say(CLIENT, setup) == [f"offer rtp for {INSIDE}:5000 rtcp 5001 from {INSIDE} = {OURS}:40000"]
    there = mapped(setup, rtp=f"{INSIDE}:5000 {OURS}:40000", rtcp=f"{INSIDE}:5001 {OURS}:40001")
    assert calls.sent(SERVER) == there


# -- RAS ---------------------------------------------------------------------------------------------------------------


def test_an_alternative_behind_the_same_address_of_ours_stays_another_endpoint() -> None:
    """RA15. Found by an audit: as a further place to call, it became a port of the caller's own host."""
    daemon = Daemon()
    registered(daemon.session(BESIDE), f"{BESIDE}:1720")
    session = daemon.session()
    session.receive(CLIENT, m.arq(1))
    admitted = {
        "requestSeqNum": 1,
        "bandWidth": 10,
        "callModel": ("direct", 0),
        "destCallSignalAddress": ip("203.0.113.9:1720"),
        "alternateEndpoints": [{"callSignalAddress": [ip(f"{OURS}:61000"), ip(f"{KEEPER}:1720")]}],
    }
    answer = encoded("Ras", ("admissionConfirm", admitted))
    session.receive(SERVER, answer)
    assert session.sent(CLIENT) == answer


def way(sent: str, received: str) -> dict[str, Any]:
    """A TransportChannelInfo."""
    return {"sendAddress": ip(sent), "recvAddress": ip(received)}


CALL: dict[str, Any] = {"callReferenceValue": 1, "conferenceID": bytes(16), "bandWidth": 1280}


def information(signal: str, host: str) -> bytes:
    """An IRR: what an endpoint at this host tells of its call. signal: where it is called."""
    rtp = {"cname": "a", "ssrc": 1, "sessionId": 1, "associatedSessionIds": []}
    rtp |= {"rtpAddress": way(f"{KEEPER}:6000", f"{host}:5000"), "rtcpAddress": way(f"{KEEPER}:6001", f"{host}:5001")}
    ways = {"h245": way(f"{KEEPER}:4001", f"{host}:4100"), "callSignalling": way(f"{KEEPER}:1720", signal)}
    call = {**CALL, **ways, "audio": [rtp], "callType": ("pointToPoint", 0), "callModel": ("direct", 0)}
    told = {"requestSeqNum": 7, "endpointType": {"mc": False, "undefinedNode": False}, "endpointIdentifier": "ep1"}
    told |= {"rasAddress": ip(f"{host}:1719"), "callSignalAddress": [ip(signal)], "perCallInfo": [call]}
    return encoded("Ras", ("infoRequestResponse", told))


def test_what_an_endpoint_tells_of_its_calls_has_no_inside_address() -> None:
    """RA3, RA20: by value, and where it has registered by that; it opens nothing."""
    session = Daemon().session()
    registered(session, f"{INSIDE}:1720")
    before = len(session.pinholes.log)
    session.receive(CLIENT, information(f"{INSIDE}:1720", INSIDE))
    assert session.sent(SERVER).endswith(information(f"{OURS}:61000", OURS))
    assert (session.pinholes.log[before:], session.violations()) == ([], [])


def bandwidth(host: str) -> bytes:
    """A BRQ: a stream of this host will be wider."""
    detail = {
        "sender": True,
        "multicast": False,
        "bandwidth": 640,
        "rtcpAddresses": way(f"{KEEPER}:6001", f"{host}:5001"),
    }
    asked = {**CALL, "requestSeqNum": 8, "endpointIdentifier": "ep1", "bandwidthDetails": [detail]}
    return encoded("Ras", ("bandwidthRequest", asked))


def test_a_request_for_bandwidth_has_no_inside_address() -> None:
    """RA3."""
    session = Daemon().session()
    session.receive(CLIENT, bandwidth(INSIDE))
    assert session.sent(SERVER) == bandwidth(OURS)
    assert (session.pinholes.log, session.violations()) == ([], [])


REASONS = {
    "gatekeeperReject": "resourceUnavailable",
    "registrationReject": "discoveryRequired",
    "unregistrationReject": "undefinedReason",
    "admissionReject": "requestDenied",
    "locationReject": "requestDenied",
    "disengageReject": "notRegistered",
}


@pytest.mark.parametrize("kind", REASONS)
def test_a_refusal_names_other_gatekeepers_which_stay(kind: str) -> None:
    """RA3: they are noted, and are let in by no refusal."""

    def refusal(*hosts: str) -> bytes:
        named = [
            {"rasAddress": ip(f"{host}:1719"), "needToRegister": True, "priority": priority}
            for priority, host in enumerate(hosts)
        ]
        content: dict[str, Any] = {"requestSeqNum": 1, "rejectReason": (REASONS[kind], 0)}
        content["altGKInfo"] = {"alternateGatekeeper": named, "altGKisPermanent": False}
        if kind in ("gatekeeperReject", "registrationReject"):
            content["protocolIdentifier"] = oracle.VERSION
        return encoded("Ras", (kind, content))

    session = Daemon().session()
    registered(session, f"{INSIDE}:1720")
    session.receive(SERVER, refusal("203.0.113.9", "203.0.113.10"))
    assert session.sent(CLIENT).endswith(refusal("203.0.113.9", "203.0.113.10"))
    (kept,) = session.notes("address.kept")
    assert [(str(one["value"]), one["reason"]) for one in kept["changes"]] == [
        ("203.0.113.9:1719", "alternate"), ("203.0.113.10:1719", "alternate"),
    ]  # fmt: skip
    registered(session, f"{INSIDE}:1720", 2)
    assert session.pinholes.log[-1] == f"renew 1 from {KEEPER} for 90 s"
