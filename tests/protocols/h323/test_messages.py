"""The messages that other tests are made of say what they are meant to say."""

from __future__ import annotations

import pytest

from protocols.h323 import names, wire
from protocols.h323.walker import Walked, Walker
from protocols.h323.wanted import walkers
from tests.protocols.h323 import messages as m

ROUTED = walkers(False)
A, B = "10.1.0.2:5000", "10.1.0.2:5001"


def found(walker: Walker, message: bytes) -> dict[str, str]:
    walked: Walked = walker.walk(message)
    assert (walked.end, walked.broken) == (len(message), 0)
    return {
        label: str(names.endpoint(message[start:end]) if value is None else value)
        for label, start, end, value in reversed(walked.found)
    }


def signal(packet: bytes) -> dict[str, str]:
    user = wire.read_signal(packet).user
    assert user is not None
    return found(ROUTED.call, packet[user.start : user.end])


def test_setup() -> None:
    said = signal(m.setup(source="10.1.0.2:1025", dest="203.0.113.7:1720", h245="[2001:db8::1]:4000", tunnelled=True))
    assert said["sourceCallSignalAddress"] == "10.1.0.2:1025"
    assert said["destCallSignalAddress"] == "203.0.113.7:1720"
    assert said["h245Address"] == "[2001:db8::1]:4000"
    assert (said["body"], said["caller"], said["h245Tunnelling"]) == ("setup", "alice", "1")


@pytest.mark.parametrize("kind", ["callProceeding", "alerting", "connect"])
def test_answers(kind: str) -> None:
    said = signal(m.answer(kind, h245=A, fast=[b"abc"], control=[b"xyz"]))
    assert (said["body"], said["h245Address"]) == (kind, A)
    assert (said["fastStart"], said["h245Control"]) == ("b'abc'", "b'xyz'")


def test_facilities() -> None:
    said = signal(m.facility("callForwarded", alternative=A))
    assert (said["reason"], said["alternativeAddress"]) == ("callForwarded", A)
    said = signal(m.facility("startH245", h245=A, control=[b"xyz"]))
    assert (said["reason"], said["h245Address"], said["h245Control"]) == ("startH245", A, "b'xyz'")
    assert signal(m.carrier(b"xyz")) == {"body": "empty", "h245Control": "b'xyz'"}
    assert signal(m.release_complete())["body"] == "releaseComplete"


def test_channels() -> None:
    assert found(ROUTED.channel, m.channel(7, control=B)) == {
        "number": "7", "dataType": "audioData", "sessionID": "1", "forward.mediaControlChannel": B,
    }  # fmt: skip
    said = found(ROUTED.channel, m.channel(8, media=A, control=B, is_reverse=True))
    assert (said["dataType"], said["reverse.mediaChannel"], said["reverse.mediaControlChannel"]) == ("nullData", A, B)
    said = found(ROUTED.control, m.open_channel(9, media=A, data=m.FAX))
    assert (said["application"], said["t38"], said["forward.mediaChannel"]) == ("t38fax", "udp", A)
    said = found(ROUTED.control, m.open_t120(9, A))
    assert (said["application"], said["separateStack"]) == ("t120", A)


def test_answers_to_channels() -> None:
    for session in (None, 2):
        said = found(ROUTED.control, m.acknowledge(9, A, B, session))
        assert (said["number"], said["forward.mediaChannel"], said["forward.mediaControlChannel"]) == ("9", A, B)
        assert said.get("sessionID") == (str(session) if session else None)
    assert found(ROUTED.control, m.close_channel(3)) == {"message": "closeLogicalChannel", "number": "3"}
    assert found(ROUTED.control, m.closed_channel(3)) == {"message": "closeLogicalChannelAck", "number": "3"}
    assert found(ROUTED.control, m.refused_channel(3)) == {"message": "openLogicalChannelReject", "number": "3"}


def test_a_refusal_of_ours_is_an_open_logical_channel_reject() -> None:
    said = found(ROUTED.control, wire.reject(300)[wire.HEADER_BYTES :])
    assert said == {"message": "openLogicalChannelReject", "number": "300"}


def test_ras() -> None:
    said = found(ROUTED.ras, m.grq(1, A))
    assert (said["message"], said["requestSeqNum"], said["rasAddress"]) == ("gatekeeperRequest", "1", A)
    assert found(ROUTED.ras, m.gcf(1, A, [B]))["alternate"] == B
    said = found(ROUTED.ras, m.rrq(2, [A], B, seconds=300, keep_alive=True, features=[18]))
    assert (said["callSignalAddress"], said["rasAddress"], said["alias"]) == (A, B, "alice")
    assert (said["timeToLive"], said["keepAlive"], said["feature"]) == ("300", "1", "18")
    said = found(ROUTED.ras, m.rcf(2, [A], seconds=60, alternates=[B]))
    assert (said["callSignalAddress"], said["endpointIdentifier"], said["timeToLive"]) == (A, "ep1", "60")
    assert said["alternate"] == B
    assert found(ROUTED.ras, m.rrq(2, [], B))["message"] == "registrationRequest"
    assert found(ROUTED.ras, m.rrj(2))["reason"] == "discoveryRequired"
    assert found(ROUTED.ras, m.urq(3, [A]))["callSignalAddress"] == A
    assert found(ROUTED.ras, m.ucf(3))["message"] == "unregistrationConfirm"
    said = found(ROUTED.ras, m.arq(4, A, is_answering=True, dest=B))
    assert (said["srcCallSignalAddress"], said["destCallSignalAddress"], said["answerCall"]) == (A, B, "1")
    said = found(ROUTED.ras, m.acf(4, A))
    assert (said["callModel"], said["destCallSignalAddress"]) == ("direct", A)
    assert found(ROUTED.ras, m.lrq(5, A))["replyAddress"] == A
    assert found(ROUTED.ras, m.lcf(5, A, B))["callSignalAddress"] == A
    assert found(ROUTED.ras, m.irq(6, A))["replyAddress"] == A
