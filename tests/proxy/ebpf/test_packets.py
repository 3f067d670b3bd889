"""What the program makes of packets, one kind after the other: BPF_PROG_TEST_RUN runs it without any interface, in a
namespace with routes and neighbours."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from functools import partial

import pytest

from proxy.ebpf import program, tables
from proxy.ebpf.syscall import Trial
from tests.harness import kernel_path
from tests.harness.kernel_path import (
    ETHERTYPES,
    HOPS,
    NEXT_MAC,
    NOT_OURS,
    OURS,
    PHONES,
    PLACES,
    REDIRECTED,
    UNREACHED,
    Program,
    Site,
    Way,
    checksum,
    packed,
    packet,
    pseudo,
)

pytestmark = pytest.mark.netns
PEERS = {4: "192.0.2.2", 6: "2001:db8::2"}
VERSIONS = pytest.mark.parametrize("version", (4, 6))
PAYLOAD = bytes(range(172))


@pytest.fixture(scope="module")
def where() -> Iterator[Site]:
    if os.geteuid():
        pytest.skip("namespaces need root")
    with kernel_path.site() as where:
        yield where


@pytest.fixture
def close() -> Iterator[list[Program]]:
    programs: list[Program] = []
    yield programs
    for each in programs:
        each.close()


def way(version: int, to: str = "", interface: int = 0, port: int = 4000) -> Way:
    return Way(
        (PHONES[version], port),
        (PLACES[version], 5000),
        (OURS[version], 5002),
        (to or PEERS[version], 6000),
        interface,
    )


class Case:
    """One row, the program, and what a phone sends by it."""

    def __init__(self, where: Site, one: Way, remembers: bool = False) -> None:
        self.where, self.way = where, one
        self.program = Program(where, [one], remembers=remembers)
        (self.row,) = self.program.put.values()

    def frame(self, data: bytes) -> bytes:
        return self.where.mac + bytes(6) + ETHERTYPES[self.way.version] + data

    def packet(self, payload: bytes = PAYLOAD, hops: int = 64, tos: int = 0) -> bytes:
        return packet(self.way.source, self.way.at, payload, hops, tos)

    def sent(self, payload: bytes = PAYLOAD, hops: int = 63, tos: int = 0) -> bytes:
        return packet(self.way.out, self.way.to, payload, hops, tos)

    def passes_on(self, data: bytes) -> bool:
        """Whether a packet is left alone, byte for byte, and not counted."""
        before = self.row.counts()
        tried = self.program.run(self.frame(data))
        return tried.answer == NOT_OURS and tried.packet == self.frame(data) and self.row.counts() == before


@pytest.fixture(params=(4, 6))
def case(request: pytest.FixtureRequest, where: Site, close: list[Program]) -> Case:
    case = Case(where, way(request.param))
    close.append(case.program)
    return case


@VERSIONS
@pytest.mark.parametrize("is_summed", (False, True))
def test_a_packet_of_a_stream_goes_on_with_other_addresses(
    where: Site, close: list[Program], version: int, is_summed: bool
) -> None:
    case = Case(where, way(version), remembers=True)
    close.append(case.program)
    first = case.program.run(case.frame(case.packet(tos=0xB8)), is_summed=is_summed)
    assert (first.answer, first.packet) == (
        REDIRECTED,
        case.frame(case.sent(tos=0xB8)),
    )  # the kernel's neighbour sends it
    second = case.program.run(case.frame(case.packet(tos=0xB8)), is_summed=is_summed)
    macs = NEXT_MAC + where.out_mac + ETHERTYPES[version]
    assert (second.answer, second.packet) == (REDIRECTED, macs + case.sent(tos=0xB8))
    assert case.row.take_back() == (2, 2 * len(PAYLOAD))
    assert case.passes_on(case.packet())


@VERSIONS
def test_a_link_without_a_mac_header_gets_one(where: Site, close: list[Program], version: int) -> None:
    one = way(version)
    tried = Program(where, [one], has_mac=False, remembers=True)
    close.append(tried)
    sent = packet(one.out, one.to, PAYLOAD, 63)
    assert tried.run(packet(one.source, one.at, PAYLOAD))[:2] == (REDIRECTED, bytes(14) + sent)
    macs = NEXT_MAC + where.out_mac + ETHERTYPES[version]
    assert tried.run(packet(one.source, one.at, PAYLOAD))[:2] == (REDIRECTED, macs + sent)


def test_another_source_port_or_place_is_nobody_of_ours(case: Case) -> None:
    source, at = case.way.source, case.way.at
    for other_source, other_at in (
        ((source[0], source[1] + 1), at),
        (source, (at[0], at[1] + 1)),
        ((OURS[case.way.version], source[1]), at),
        (source, (PEERS[case.way.version], at[1])),
    ):
        assert case.passes_on(packet(other_source, other_at, PAYLOAD))


@VERSIONS
def test_packets_that_come_by_another_interface_are_left_to_the_socket(
    where: Site, close: list[Program], version: int
) -> None:
    for interface, answer in ((where.interface, REDIRECTED), (where.other, NOT_OURS)):
        case = Case(where, way(version, interface=interface))
        close.append(case.program)
        assert case.program.run(case.frame(case.packet())).answer == answer


def test_the_last_hop_is_not_taken_by_us(case: Case) -> None:
    for hops in (0, 1):
        assert case.passes_on(case.packet(hops=hops))
    assert case.program.run(case.frame(case.packet(hops=2))).packet == case.frame(case.sent(hops=1))


@pytest.mark.parametrize("fragment", (0x2000, 0x0001, 0x1FFF, 0x6000, 0x8000))
def test_fragments_are_left_to_the_socket(where: Site, close: list[Program], fragment: int) -> None:
    case = Case(where, way(4))
    close.append(case.program)
    assert case.passes_on(changed_4(case.packet(), 6, fragment.to_bytes(2, "big")))
    assert not case.passes_on(changed_4(case.packet(), 6, bytes(2)))


def test_options_are_left_to_the_socket(where: Site, close: list[Program]) -> None:
    case = Case(where, way(4))
    close.append(case.program)
    whole = case.packet()
    longer = struct.pack("!BBH", 0x46, 0, len(whole) + 4) + whole[4:20] + b"\x01\x01\x01\x00" + whole[20:]
    assert case.passes_on(changed_4(longer, 0, b"\x46"))


@pytest.mark.parametrize("kind", (0, 43, 44, 60))
def test_extension_headers_are_left_to_the_socket(where: Site, close: list[Program], kind: int) -> None:
    case = Case(where, way(6))
    close.append(case.program)
    whole = case.packet()
    length = (len(whole) - 40 + 8).to_bytes(2, "big")
    assert case.passes_on(whole[:4] + length + bytes((kind,)) + whole[7:40] + b"\x11" + bytes(7) + whole[40:])


def test_tcp_is_left_alone(case: Case) -> None:
    at = 9 if case.way.version == 4 else 6
    whole = case.packet()
    assert case.passes_on(whole[:at] + b"\x06" + whole[at + 1 :])


def test_a_packet_that_is_cut_off_is_left_alone(case: Case) -> None:
    """The kernel itself refuses to try what is shorter than an IP header."""
    whole, shortest = case.packet(), 20 if case.way.version == 4 else 40
    for length in range(shortest, len(whole)):
        assert case.passes_on(whole[:length])


def test_what_fills_up_a_short_frame_is_cut_off(case: Case) -> None:
    assert case.program.run(case.frame(case.packet(b"x") + bytes(17))).packet == case.frame(case.sent(b"x"))
    assert case.row.counts() == (1, 1)


def test_a_datagram_that_does_not_fill_its_packet_is_left_to_the_socket(case: Case) -> None:
    whole, at = case.packet(), 24 if case.way.version == 4 else 44
    for length in (0, 7, 8, len(PAYLOAD) + 7, len(PAYLOAD) + 9, 0xFFFF):
        assert case.passes_on(whole[:at] + length.to_bytes(2, "big") + whole[at + 2 :])


def test_an_empty_datagram_counts_as_a_packet(case: Case) -> None:
    assert case.program.run(case.frame(case.packet(b""))).packet == case.frame(case.sent(b""))
    assert case.row.counts() == (1, 0)


def test_no_checksum_stays_none_in_ipv4_and_is_nothing_for_us_in_ipv6(where: Site, close: list[Program]) -> None:
    for version in (4, 6):
        case = Case(where, way(version))
        close.append(case.program)
        at = 26 if version == 4 else 46
        none, sent = (data[:at] + bytes(2) + data[at + 2 :] for data in (case.packet(), case.sent()))
        if version == 4:
            assert case.program.run(case.frame(none)).packet == case.frame(sent)
        else:
            assert case.passes_on(none)


def test_a_checksum_that_becomes_0_is_sent_as_ones(case: Case) -> None:
    """0 would say that there is none (RFC 768)."""
    hosts = packed(case.way.out[0]) + packed(case.way.to[0])
    udp = struct.pack("!HHHHH", case.way.out[1], case.way.to[1], 10, 0, 0)
    payload = checksum(pseudo(hosts, 10) + udp).to_bytes(2, "big")
    sent = case.program.run(case.frame(case.packet(payload))).packet
    assert sent == case.frame(case.sent(payload)) and sent[-4:-2] == b"\xff\xff"


def test_a_wrong_checksum_stays_wrong(case: Case) -> None:
    whole = case.packet()
    sent = case.program.run(case.frame(whole[:-1] + b"\0")).packet
    assert sent == case.frame(case.sent())[:-1] + b"\0"


@VERSIONS
def test_what_is_longer_than_the_path_takes_is_left_to_the_socket(
    where: Site, close: list[Program], version: int
) -> None:
    """It is fragmented there (S7). By a route that is remembered as by one that is not."""
    to = {4: "203.0.113.7", 6: "2001:db8:2::7"}[version]
    fits = HOPS[to].mtu - (28 if version == 4 else 48)
    for remembers in (False, True):
        case = Case(where, way(version, to), remembers)
        close.append(case.program)
        assert case.passes_on(case.packet(bytes(fits + 1)))
        assert case.program.run(case.frame(case.packet(bytes(fits)))).answer == REDIRECTED
        assert case.passes_on(case.packet(bytes(fits + 1)))


@pytest.mark.parametrize("to", UNREACHED)
def test_no_row_leads_where_nothing_is_forwarded(where: Site, close: list[Program], to: str) -> None:
    """Above all to no service of this host."""
    case = Case(where, way(6 if ":" in to else 4, to), remembers=True)
    close.append(case.program)
    assert case.passes_on(case.packet()) and case.passes_on(case.packet())


@VERSIONS
def test_an_unknown_neighbour_is_asked_for_by_the_kernel(where: Site, close: list[Program], version: int) -> None:
    case = Case(where, way(version, {4: "192.0.2.3", 6: "2001:db8::3"}[version]), remembers=True)
    close.append(case.program)
    for _ in range(2):
        tried = case.program.run(case.frame(case.packet()))
        assert (tried.answer, tried.packet) == (REDIRECTED, case.frame(case.sent()))


def test_frames_to_others_are_left_alone(case: Case) -> None:
    """Such as come by an interface in promiscuous mode, and broadcasts."""
    for mac in (NEXT_MAC, bytes.fromhex("ffffffffffff"), bytes.fromhex("01005e000005")):
        frame = mac + case.frame(case.packet())[6:]
        assert case.program.run(frame)[:2] == (NOT_OURS, frame)
    assert case.row.counts() == (0, 0)


def test_several_datagrams_in_one_are_left_to_the_socket(case: Case) -> None:
    """The kernel joins what comes in a burst (GRO), and one count would stand for all."""
    assert case.program.run(case.frame(case.packet()), gso=100).answer == NOT_OURS


@VERSIONS
def test_forwarding_that_is_off_is_off_for_us(where: Site, close: list[Program], version: int) -> None:
    case = Case(where, way(version))
    close.append(case.program)
    switch = f"/proc/sys/net/ipv{version}/conf/in0/forwarding"
    try:
        with open(switch, "w") as file:
            file.write("0")
        assert case.passes_on(case.packet())
    finally:
        with open(switch, "w") as file:
            file.write("1")
    assert not case.passes_on(case.packet())


def test_queues_hear_of_the_type_of_service_as_from_a_router(where: Site, close: list[Program]) -> None:
    case = Case(where, way(4))
    close.append(case.program)
    for tos, priority in ((0, 0), (0x08, 2), (0x10, 6), (0x18, 4), (0xB8, 4), (0x28, 2), (0x03, 0)):
        tried = case.program.run(case.frame(case.packet(tos=tos)))
        assert struct.unpack_from("=I", tried.context, 32) == (priority,)


@VERSIONS
def test_a_row_is_compared_with_the_packet(where: Site, close: list[Program], version: int) -> None:
    """The hash table may lead to a row that another stream has by now."""
    case = Case(where, way(version))
    close.append(case.program)
    other = case.program.rows.put(*way(version, port=4002))
    assert other is not None
    case.program.rows._elements[version].put(case.row.key, other.number)
    assert case.passes_on(case.packet()) and other.counts() == (0, 0)


@VERSIONS
def test_a_lease_that_nobody_moves_on_ends_all_rows(where: Site, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tables.make_tables(8)
    rows = tables.Rows(made)
    one = way(version)
    assert rows.put(*one) is not None
    leased = program.load(made, has_mac=True, is_leased=True)
    context = bytearray(192)
    struct.pack_into("=I", context, 40, where.interface)
    frame = where.mac + bytes(6) + ETHERTYPES[version] + packet(one.source, one.at, PAYLOAD)
    run = partial(Trial(leased).run, frame, bytes(context))
    assert run().answer == NOT_OURS  # nobody has ever called `keep`
    rows.keep()
    assert run().answer == REDIRECTED
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    past = now - int(tables.LEASE_SECONDS * 1e9) - 50_000_000
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: past)
    rows.keep()
    assert run().answer == NOT_OURS
    os.close(leased)
    rows.close()
    made.close()


def changed_4(data: bytes, at: int, value: bytes) -> bytes:
    """An IPv4 packet with other bytes there, and the right header checksum."""
    data = data[:at] + value + data[at + len(value) :]
    header = 4 * (data[0] & 15)
    head = data[:10] + bytes(2) + data[12:header]
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + data[header:]
