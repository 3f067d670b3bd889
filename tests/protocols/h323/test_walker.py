"""The walker finds what is wanted, and nothing that is not there, whatever the message is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from protocols.contract.addresses import Malformed
from protocols.h323 import h225_types, h245_types, per, schema, wire
from protocols.h323.schema import Fields, List, Ref, Schema, Type
from protocols.h323.walker import Walked, Walker
from protocols.h323.wanted import ADDRESS, walkers
from protocols.toolbox.packets import Packets
from tests.harness.pcap import connections, datagrams
from tests.harness.recordings import found
from tests.protocols.h323.messages import FAST_SETUP, Bits

ROUTED, MAPPED = walkers(False), walkers(True)
CAPTURE = "h323", "ndpi-h225-h245.pcap"
H225, H245 = schema.read(h225_types.TYPES), schema.read(h245_types.TYPES)


def user_information(packet: bytes) -> bytes:
    signal = wire.read_signal(packet)
    assert signal.user is not None
    return packet[signal.user.start : signal.user.end]


def addresses(message: bytes, walked: Walked) -> list[tuple[str, str]]:
    return [
        (label, f"{'.'.join(map(str, message[start:end][:4]))}:{int.from_bytes(message[end - 2 : end], 'big')}")
        for label, start, end, value in walked.found
        if value is None and end - start == 6
    ]


def labels(walked: Walked) -> list[str]:
    return [label for label, *_ in walked.found]


# -- real messages -----------------------------------------------------------------------------------------------------


def test_a_setup_with_27_flags_and_fast_start_is_read_whole() -> None:
    """HF67: whoever shifts 27 flags wrongly finds no fastStart here, and the call is silent."""
    message = user_information(FAST_SETUP)
    walked = ROUTED.call.walk(message)
    assert (walked.end, walked.broken) == (len(message), 0)
    assert addresses(message, walked) == [
        ("destCallSignalAddress", "10.2.0.2:1720"),
        ("sourceCallSignalAddress", "10.1.0.2:12030"),
    ]
    channels = [message[start:end] for label, start, end, _ in walked.found if label == "fastStart"]
    media = [addresses(channel, ROUTED.channel.walk(channel)) for channel in channels]
    receiving = [("reverse.mediaChannel", "10.1.0.2:10030"), ("reverse.mediaControlChannel", "10.1.0.2:10031")]
    sending = [("forward.mediaControlChannel", "10.1.0.2:10031")]
    assert media == [receiving, sending, receiving, sending]
    assert FAST_SETUP.count(bytes((10, 1, 0, 2))) == 7


def captured() -> Iterator[tuple[Walker, bytes]]:
    """Every message of the capture, with its walker."""
    path = found(*CAPTURE)
    for port in (1720, 1232):
        for connection in connections(path, port):
            cut: dict[object, Packets] = {}
            for side, data in connection.said:
                packets = cut.setdefault(side, Packets(wire.length_of))
                packets.push(data)
                while (packet := packets.pop()) is not None:
                    if port == 1720:
                        yield ROUTED.call, user_information(packet)
                    else:
                        yield ROUTED.control, packet[wire.HEADER_BYTES :]
    for datagram in datagrams(path, 1719):
        yield ROUTED.ras, datagram.data


def test_every_message_that_others_have_recorded_is_read_to_its_last_octet() -> None:
    """HF18: two of them are broken in fields that nobody needs."""
    messages = list(captured())
    assert len(messages) == 35
    for walker, message in messages:
        walked = walker.walk(message)
        assert (walked.end, walked.broken) == (len(message), 0)


def test_the_recorded_registration_says_what_it_is() -> None:
    values = [
        {label: value for label, _, _, value in ROUTED.ras.walk(one.data).found}
        for one in datagrams(found(*CAPTURE), 1719)
    ]
    assert [one["message"] for one in values[:5]] == [
        "gatekeeperRequest", "gatekeeperConfirm", "registrationRequest", "registrationConfirm", "admissionRequest",
    ]  # fmt: skip
    assert [one["timeToLive"] for one in values if one["message"] == "registrationConfirm"] == [3600, 60, 60]
    assert {one["alias"] for one in values if "alias" in one} == {"2098"}
    assert {one["endpointIdentifier"] for one in values if "endpointIdentifier" in one} == {
        "474a74c8:274",
        "bd020b80-6d41-11e1-a7fb-0010f30f65a0_17",
    }


def test_with_nat_alternates_of_an_alias_are_found_by_value() -> None:
    """An alias of the kind transportID is an address that only names somebody (X8)."""
    alias = Bits().bits("1 0 000001").counted(Bits().bits("0 000").octets(bytes((10, 1, 0, 2, 6, 184))).done()).done()
    walker = Walker(H225, "AliasAddress", {}, ADDRESS)
    walked = walker.walk(alias)
    assert addresses(alias, walked) == [(ADDRESS, "10.1.0.2:1720")]
    assert Walker(H225, "AliasAddress", {}).walk(alias).found == []


# -- versions that are not born yet ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 65))
def test_unknown_additions_are_skipped_by_their_lengths(count: int) -> None:
    """HF12, HF66, HF67: whatever the number of flags is, also where it crosses 32 bits."""
    name = Walker(H245, "OpenLogicalChannelAck", {"forwardLogicalChannelNumber": "number"})
    flags = "0" * (count - 1) + "1"
    message = Bits().bits("1 0").octets(b"\x00\x06").bits("0" + f"{count - 1:06b}" + flags).counted(b"abc").done()
    walked = name.walk(message)
    assert [found[0::3] for found in walked.found] == [("number", 7)]
    assert walked.end == len(message)


def test_too_many_additions_are_refused() -> None:
    walker = Walker(H245, "OpenLogicalChannelAck", {})
    message = Bits().bits("1 0").octets(b"\x00\x06").bits("1").octets(b"\x41" + bytes(20)).done()
    with pytest.raises(Malformed, match="65 extension additions"):
        walker.walk(message)


@pytest.mark.parametrize("number", range(64))
def test_unknown_alternatives_are_skipped_by_their_lengths(number: int) -> None:
    walker = Walker(H225, "FacilityReason", {"": "reason"})
    message = Bits().bits("1 0" + f"{number:06b}").counted(b"xyz").done()
    walked = walker.walk(message)
    assert (labels(walked), walked.end) == (["reason"], len(message))
    assert walked.found[0][3] == {1: "startH245"}.get(number, "unknown")


def test_an_addition_that_cannot_be_read_is_skipped_and_counted() -> None:
    """HF15: its length tells where the next one begins."""
    walker = Walker(H225, "AliasAddress", {}, ADDRESS)
    message = Bits().bits("1 0 000001").counted(Bits().bits("0 000").octets(bytes((10, 1, 0))).done()).done()
    assert walker.walk(message) == Walked([], len(message), 1)


# -- bounds ------------------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    """GenericData whose parameters hold GenericData, and so on."""
    inner = Bits()
    for _ in range(depth):
        inner.bits("0 1").bits("0 00 0").octets(b"\x00\x01").octets(b"\0\0")  # id, and one parameter
        inner.bits("0 1").bits("0 00 0").octets(b"\x00\x01").bits("0 1011").bits("0000")  # its content is `nested`
    return inner.bits("0 0 0 00 0").octets(b"\x00\x01").done()


def test_nesting_has_an_end() -> None:
    """HF16: what is nested is refused long before the interpreter would be in trouble."""
    walker = Walker(H225, "GenericData", {}, ADDRESS)
    assert walker.walk(nested(3)).broken == 0
    for depth in (30, 300, 3000):
        with pytest.raises(Malformed):
            walker.walk(nested(depth))


def test_a_message_of_many_parts_is_refused() -> None:
    """HF16: four thousand of them are walked, not forty thousand, however short each of them is."""
    many = Walker({"Many": schema.read("Many = LIST()NULL")["Many"]}, "Many", {})
    assert many.walk(b"\x8f\xa0").end == 2
    with pytest.raises(Malformed, match="too many parts"):
        many.walk(b"\x8f\xa1")


def test_values_in_fragments_are_refused() -> None:
    with pytest.raises(Malformed, match="fragments"):
        Walker({"Any": schema.read("Any = OCTETS()")["Any"]}, "Any", {}).walk(b"\xc1" + bytes(16384))


def test_a_length_past_the_end_finds_nothing_behind_the_end() -> None:
    message = user_information(FAST_SETUP)
    for size in range(len(message)):
        with pytest.raises(Malformed):
            walked = ROUTED.call.walk(message[:size])
            assert all(end <= size for _, _, end, _ in walked.found)


def test_no_octets_raise_anything_else() -> None:
    chance = random.Random(5)
    message = user_information(FAST_SETUP)
    for number in range(3000):
        data = bytearray(message)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        walker = (ROUTED, MAPPED)[number % 2][number // 2 % 4]
        try:
            walked = walker.walk(bytes(data))
        except Malformed:
            continue
        assert all(0 <= start <= end <= len(data) for _, start, end, _ in walked.found)


def parts(kind: Type, is_bounded: bool) -> Iterator[str]:
    """The types that a type is made of. is_bounded: only without a list or an addition in between."""
    match kind:
        case Ref(name):
            yield name
        case List(of=of) if not is_bounded:
            yield from parts(of, is_bounded)
        case Fields():
            for field in (*kind.root, *(() if is_bounded else kind.added.values())):
                yield from parts(field.type, is_bounded)


@pytest.mark.parametrize("types", [H225, H245], ids=["h225", "h245"])
def test_every_circle_of_types_passes_a_place_where_depth_is_counted(types: Schema) -> None:
    done: set[str] = set()

    def visit(name: str, above: frozenset[str]) -> None:
        assert name not in above, f"{name} contains itself"
        if name not in done:
            for part in parts(types[name], True):
                visit(part, above | {name})
            done.add(name)

    for name in types:
        visit(name, frozenset())


@pytest.mark.parametrize("types", [H225, H245], ids=["h225", "h245"])
def test_every_type_that_a_table_names_stands_in_it(types: Schema) -> None:
    assert {part for kind in types.values() for part in parts(kind, False)} <= set(types)


# -- leaves ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leaf", "bits", "octets", "value"),
    [
        ("INT(7..7)", "", "", 7),
        ("INT(1..14)", "1100", "", 13),
        ("INT(0..254)", "00000101", "", 5),
        ("INT(0..255)", "", "05", 5),
        ("INT(1..256)", "", "ff", 256),
        ("INT(0..65535)", "", "0102", 258),
        ("INT(1..4294967295)", "00", "0f", 16),
        ("INT(0..4294967295)", "01", "0100", 256),
        ("INT(0..100000)", "10", "010000", 65536),
        ("INT()", "", "0109", 9),
        ("INT(0..16383)*", "0", "0012", 18),
        ("INT(0..16383)*", "1", "024000", 16384),
        ("BOOL", "1", "", 1),
    ],
)
def test_numbers_as_x691_has_them(leaf: str, bits: str, octets: str, value: int) -> None:
    """The bit before each is there to show what is aligned."""
    types = schema.read(f"One = SEQ before:BOOL it:{leaf} after:OCTETS(3)")
    message = Bits().bits("1" + bits).octets(bytes.fromhex(octets) + b"end").done()
    walked = Walker(types, "One", {"it": "it", "after": "after"}).walk(message)
    assert (walked.found[0][3], walked.end) == (value, len(message))
    assert message[walked.found[1][1] : walked.found[1][2]] == b"end"
    assert Walker(types, "One", {}).walk(message).end == len(message)


@pytest.mark.parametrize(
    ("leaf", "bits", "octets"),
    [
        ("NULL", 0, 0),
        ("OCTETS(2)", 16, 0),
        ("OCTETS(3)", 0, 3),
        ("BITS(16)", 16, 0),
        ("BITS(24)", 0, 3),
        ("CHARS4[0123456789](1..3)", 2 + 4, 0),
        ("ENUM(4)*", 3, 0),
        ("ENUM(4)", 2, 0),
    ],
)
def test_what_is_short_is_not_aligned(leaf: str, bits: int, octets: int) -> None:
    types = schema.read(f"One = SEQ before:BOOL it:{leaf} behind:BOOL after:OCTETS(3)")
    data = Bits().bits("1").bits("0" * bits).octets(bytes(octets)) if octets else Bits().bits("1" + "0" * bits)
    message = data.bits("1").octets(b"end").done()
    walked = Walker(types, "One", {"after": "after"}).walk(message)
    assert message[walked.found[0][1] : walked.found[0][2]] == b"end"
    assert walked.end == len(message)


def test_depth_and_fuel_have_the_documented_values() -> None:
    assert (per.MAX_DEPTH, per.MAX_FUEL, per.MAX_ADDITIONS) == (24, 4000, 64)
