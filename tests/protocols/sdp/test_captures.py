"""Descriptions that others sent: where their media goes, and that they come back from a move as they were.

The messages stand whole in the captures, so they are found by their text. What lies under licences that keep it out of
this tree is read from beside it, and skipped when it is not there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protocols.sdp.reading import read_sdp
from protocols.sdp.relocate import (
    relocate,
    residual,
)
from tests.harness.recordings import PLACES, found
from tests.harness.sdp_examples import OUTSIDE, stay, to

# What follows an empty line and begins with v=0, as far as lines of SDP go.
_IN_A_MESSAGE = re.compile(rb"\n\r?\n(?:\r?\n)?(v=0\r?\n(?:[a-z]=[^\r\n]*+(?:\r?\n|\Z))*+)")

CAPTURED: dict[str, list[list[str]]] = {
    "sip/ndpi-t38-fax-call.pcap": [
        ["10.23.1.52:16756"],
        ["138.132.169.101:15580"],
        ["192.168.100.219:5002"],
        ["10.35.60.100:15580"],
    ],
    "sip/pcpp-requests.pcap": [["200.57.7.196:40376"]],
    "sip/pcpp-responses.pcap": [["200.57.7.204:8000"]],
    "sip/suricata-call-two-invites.pcap": [["200.57.7.196:40376"], ["200.57.7.204:8000"], ["200.57.7.196:40360"]],
    "sip/suricata-compact-headers.pcap": [["192.168.1.2:30000"]],
    "sip/suricata-multi-value-headers.pcap": [["192.168.1.2:30000"]],
    "sip/suricata-register-invite-nat.pcap": [["192.168.1.2:30000"], ["212.242.33.36:40392"]],
    "sip/suricata-sdp-offer-answer.pcap": [["192.168.1.2:30000"], ["192.168.1.2:30000", "192.168.1.2:20000"]],
    "sip-messages/bad_uri.sip": [["213.20.128.35:54742"]],
    "sip-messages/inv_srv.sip": [["195.37.78.190:18456"]],
    "sip-messages/invite01.sip": [["213.20.128.35:54742"]],
    "sip-messages/invite03.sip": [["213.20.128.35:54742"]],
    "sip-messages/invite05.sip": [["213.20.128.35:54742"]],
    "sip-messages/invite3-callid.sip": [["195.37.78.190:18456"]],
    "sip-messages/invite5-callid.sip": [["195.37.78.190:18456"]],
    "sip-messages/long.sip": [["213.20.128.35:54742"]],
    "sip-messages/nmr.sip": [["195.37.77.101:35274"]],
    "sip-messages/route.sip": [["195.37.78.190:18456"]],
    "sip-messages/sg.sip": [["137.132.31.151:58074"]],
    "sip-torture/baddate.dat": [["192.0.2.5:49217", "192.0.2.5:3227"]],
    "sip-torture/bcast.dat": [["192.0.2.198:49217", "192.0.2.198:3227"]],
    "sip-torture/clerr.dat": [["192.0.2.155:49217", "192.0.2.155:3227"]],
    "sip-torture/esc01.dat": [["192.0.2.1:49217", "192.0.2.1:3227"]],
    "sip-torture/inv2543.dat": [["192.0.2.5:49217"]],
    "sip-torture/ipv6-in-sdp.dat": [["[2001:db8::20]:6000", "[2001:db8::20]:6024"]],
    "sip-torture/longreq.dat": [["192.0.2.1:49217", "192.0.2.1:3227"]],
    "sip-torture/lwsruri.dat": [["192.0.2.1:49217", "192.0.2.1:3227"]],
    "sip-torture/mismatch02.dat": [["192.0.2.1:49217", "192.0.2.1:3227"]],
    "sip-torture/mult-ip-in-sdp.dat": [["192.0.2.1:22334", "[2001:db8::1]:6024"]],
    "sip-torture/multi01.dat": [["192.0.2.25:49217", "192.0.2.25:3227"]],
    "sip-torture/quotbal.dat": [["192.0.2.15:49217", "192.0.2.15:3227"]],
    "sip-torture/wsinv.dat": [["192.0.2.4:49217", "192.0.2.4:3227"]],
}
"""Where media goes, each set once, in the order in which they first come."""


def captured(path: Path) -> list[bytes]:
    return _IN_A_MESSAGE.findall(path.read_bytes())


@pytest.fixture
def capture(request: pytest.FixtureRequest) -> Path:
    folder, _, name = str(request.param).rpartition("/")
    return found(folder, name)


def test_every_capture_with_sdp_has_its_expectation() -> None:
    files = [path for place in PLACES for path in place.glob("sip*/*") if captured(path)]
    assert {f"{path.parent.name}/{path.name}" for path in files} <= CAPTURED.keys()


@pytest.mark.parametrize(("capture", "endpoints"), CAPTURED.items(), indirect=["capture"])
def test_captured_descriptions_announce_what_they_announce(capture: Path, endpoints: list[list[str]]) -> None:
    seen: list[list[str]] = []
    for body in captured(capture):
        announced = [str(media.endpoint) for media in read_sdp(body).media]
        if announced not in seen:
            seen.append(announced)
    assert seen == endpoints


@pytest.mark.parametrize("capture", CAPTURED, indirect=True)
def test_captured_descriptions_move_and_move_back(capture: Path) -> None:
    for body in captured(capture):
        description = read_sdp(body)
        moves = {media.slot: to(40000 + 2 * media.slot, 40001 + 2 * media.slot) for media in description.media}
        after = relocate(description, moves, OUTSIDE, "strip")
        hosts = {media.connection.host for media in description.media if media.connection and media.connection.host}
        if description.origin is None or description.origin.host in hosts:
            assert residual(after, hosts) == []
        origin = description.origin and description.origin.host
        back = relocate(read_sdp(after), stay(description), origin, "strip")
        assert back == body
