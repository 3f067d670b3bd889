"""TPKT and Q.931, however they are cut, and whatever stands in them."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Malformed
from protocols.h323 import wire
from protocols.h323.wanted import walkers
from protocols.toolbox.packets import Packets
from tests.protocols.h323.messages import FAST_SETUP


def cut(data: bytes, size: int) -> list[bytes]:
    packets, found = Packets(wire.length_of), []
    for at in range(0, len(data), size):
        packets.push(data[at : at + size])
        while (packet := packets.pop()) is not None:
            found.append(packet)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 250, 1000])
def test_packets_are_the_same_however_they_are_cut(size: int) -> None:
    """HF2, HF3: a header alone, several packets in one segment, and keep-alives among them."""
    data = FAST_SETUP + wire.KEEP_ALIVE + wire.KEEP_ALIVE + FAST_SETUP
    assert cut(data, size) == [FAST_SETUP, wire.KEEP_ALIVE, wire.KEEP_ALIVE, FAST_SETUP]


@pytest.mark.parametrize("data", [b"\x16", b"GET / HTTP/1.1", b"\x02\0\0\x04", b"\x03\0\0\x03", b"\x03\0\0\0"])
def test_what_is_no_tpkt_is_told_by_its_first_octets(data: bytes) -> None:
    with pytest.raises(Malformed):
        cut(data, 100)


def packet(message: bytes) -> bytes:
    return b"\x03\0" + (len(message) + 4).to_bytes(2, "big") + message


def test_a_setup_of_q931() -> None:
    signal = wire.read_signal(FAST_SETUP)
    assert (signal.kind, signal.reference, signal.is_from_callee) == (wire.Kind.SETUP, 0x4A, False)
    assert signal.user is not None and signal.user.end == len(FAST_SETUP)


def test_the_user_user_element_need_not_be_the_last() -> None:
    """HF5: elements of one octet, and others, may stand before it and behind it; the first one counts."""
    message = bytes.fromhex("0802 8001 62 a1 28 02 4142 7e 0003 05aabb a1 7e 0002 05cc")
    signal = wire.read_signal(packet(message))
    assert (signal.kind, signal.reference, signal.is_from_callee) == (wire.Kind.FACILITY, 1, True)
    assert signal.user is not None
    assert packet(message)[signal.user.start : signal.user.end] == b"\xaa\xbb"


@pytest.mark.parametrize("elements", ["", "a1", "2802 4142", "7e 0000", "7e 0001 04", "7e 0002 0405"])
def test_a_message_without_h225_is_legal(elements: str) -> None:
    """HF6: no User-User element, an empty one, one of another protocol."""
    assert wire.read_signal(packet(bytes.fromhex("0802 0001 7d" + elements))).user is None


@pytest.mark.parametrize("call", ["0800 05", "0801 85 05", "0803 800001 05", "0802 0000 05"])
def test_call_references_of_any_length(call: str) -> None:
    signal = wire.read_signal(packet(bytes.fromhex(call)))
    known = {"0800 05": None, "0801 85 05": 5, "0803 800001 05": 1, "0802 0000 05": 0}
    assert (signal.kind, signal.reference) == (5, known[call])


@pytest.mark.parametrize(
    "message",
    [
        "",
        "08",
        "0802",
        "080200",
        "08020001",
        "090200017d",
        "0802 0001 05 7e",
        "0802 0001 05 7e 00",
        "0802 0001 05 7e 0002 05",
        "0802 0001 05 28",
        "0802 0001 05 28 01",
        "080f 00 05",
    ],
)
def test_what_ends_early_is_refused(message: str) -> None:
    with pytest.raises(Malformed):
        wire.read_signal(packet(bytes.fromhex(message)))


@pytest.mark.parametrize("reference", ["12", "1234", "123456"])
def test_a_release_of_ours_reads_as_one(reference: str) -> None:
    """With the call reference of the Setup, whatever its length, and from the side that was called."""
    call, octets = bytes(range(16)), bytes.fromhex(reference)
    data = wire.release(packet(bytes((8, len(octets))) + octets + b"\x05"), call)
    assert cut(data, 1) == [data]
    signal = wire.read_signal(data)
    assert (signal.kind, signal.reference) == (wire.Kind.RELEASE_COMPLETE, int(reference, 16))
    assert signal.is_from_callee
    assert signal.user is not None
    user = data[signal.user.start : signal.user.end]
    walked = walkers(False).call.walk(user)
    values = {label: value for label, _, _, value in walked.found}
    assert (values["body"], walked.end) == ("releaseComplete", len(user))
    assert values["reason"] == "gatewayResources"
    assert [user[start:end] for label, start, end, _ in walked.found if label == "callIdentifier"] == [call]
