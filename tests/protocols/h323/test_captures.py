"""What others have recorded, and the message that the kernel's helper misreads, through the engines: what is opened,
and what the other side reads. Expected is what people read in the captures."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Peers, Side, Transport
from protocols.h323.helper import HELPER, RAS
from tests.harness.pcap import connections, datagrams
from tests.harness.playbook import Session
from tests.harness.recordings import found
from tests.protocols.h323 import messages as m
from tests.protocols.h323.calls import CLIENT, SERVER, Calls
from tests.protocols.h323.recorded import OTHERS
from tests.protocols.h323.test_oracle_engine import CUTS

INSIDE, OURS = "10.1.0.2", "198.51.100.1"


@pytest.mark.parametrize("caller", ["192.168.0.208", "17.2.0.124"])
def test_calls_that_come_to_nothing_pass_as_they_came(caller: str) -> None:
    """HF3, HF18: of one each header stands alone; the Setup of the other one has an alias that is broken."""
    name, (port,), _, _ = OTHERS
    (call,) = (one for one in connections(found("h323", name), port) if str(one.client.host) == caller)
    session = Session.of(HELPER, Peers(call.client, call.client, call.server, call.server))
    for side, data in call.said:
        session.receive(side, data)
    for side in Side:
        assert session.sent(side.other) == call.stream(side) != b""
    assert (session.pinholes.log, session.violations()) == ([], [])


def registering(endpoint: str) -> Session:
    """The session of an endpoint with its gatekeeper; what each says is passed as it came."""
    name, _, _, (port,) = OTHERS
    said = [
        one for one in datagrams(found("h323", name), port) if endpoint in (str(one.source.host), str(one.target.host))
    ]
    client, server = said[0].source, said[0].target
    session = Session.of(RAS, Peers(client, client, server, server, Transport.UDP))
    for one in said:
        session.receive(CLIENT if one.source == client else SERVER, one.data)
    assert session.sent(SERVER) == b"".join(one.data for one in said if one.source == client)
    assert session.sent(CLIENT) == b"".join(one.data for one in said if one.source == server)
    assert session.violations() == []
    return session


def test_an_endpoint_that_was_recorded_can_be_called_by_its_gatekeeper() -> None:
    session = registering("17.2.0.124")
    assert session.pinholes.log == [
        "open tcp for 17.2.0.124:1720 from 17.2.0.161 as None uses any for 30 s unconfirmed read = 17.2.0.124:1720",
        "renew 1 from 17.2.0.161 for 3630 s",
        "confirm 1",
    ]
    assert [note["aor"] for note in session.notes("registration.added")] == ["474a74c8:274"]


def test_an_endpoint_that_was_recorded_can_be_called_by_the_alternates_of_its_gatekeeper() -> None:
    session = registering("10.47.208.204")
    at = "10.47.208.204:1720"
    renewed = "renew 1 from 10.47.208.50, 10.47.208.54, 10.47.208.51, 10.47.208.53 for 90 s"
    opened = f"open tcp for {at} from 10.47.208.50 as None uses any for 30 s unconfirmed read = {at}"
    assert session.pinholes.log == [opened, renewed, "confirm 1", renewed]
    told = [*session.notes("registration.added"), *session.notes("registration.refreshed")]
    assert [note["aor"] for note in told] == ["20203@am.sol"] * 2


@pytest.mark.parametrize("cut", CUTS)
def test_the_setup_that_was_misread_has_its_media(cut: str) -> None:
    """HF67: with source NAT nothing of the inside address is left."""
    calls = Calls()
    for piece in CUTS[cut](m.FAST_SETUP):
        calls.say(CLIENT, piece)
    assert calls.log == [f"offer rtp for {INSIDE}:10030 rtcp 10031 from {INSIDE} = {OURS}:40000"]
    inside, ours = (m.octets(f"{host}:0")[:4] for host in (INSIDE, OURS))
    sent = calls.sent(SERVER)
    assert (m.FAST_SETUP.count(inside), sent.count(inside), sent.count(ours)) == (7, 0, 7)
    assert len(sent) == len(m.FAST_SETUP) and sent.count(m.octets("10.2.0.2:1720")) == 1
