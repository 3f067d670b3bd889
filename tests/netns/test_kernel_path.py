"""The program on real interfaces: three hosts, a stream from the client by way of a place of the gateway to the server,
and what no trial without an interface can show: checksums that a card finishes, neighbours, packets in pieces of
memory, tags, links without a MAC header."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from proxy.ebpf import program, tables
from proxy.ebpf.tables import Row, Rows
from proxy.holder.links import Clsact, Order, Tcx, Way
from tests.harness.kernel_path import ETHERTYPES, ones_sum, packed, packet
from tests.harness.waiting import until
from tests.netns.namespaces import Hosts, Namespace, needs_root, three_hosts
from tests.proxy.ebpf.conftest import as_nobody

pytestmark = [pytest.mark.netns, needs_root]
VERSIONS = pytest.mark.parametrize("version", (4, 6))

CLIENT = {4: "10.1.0.2", 6: "fd01::2"}
PLACE = {4: "10.1.0.1", 6: "fd01::1"}
OURS = {4: "192.0.2.1", 6: "2001:db8::1"}
SERVER = {4: "192.0.2.2", 6: "2001:db8::2"}
AT = 5000
IP_RECVTTL, UDP_SEGMENT, ETHTOOL, SET_TX_CHECKSUMS = 12, 103, 0x8946, 0x17
PACKET_VNET_HDR = 15
SECONDS = 5.0


class Site(NamedTuple):
    hosts: Hosts
    rows: Rows
    programs: dict[bool, int]
    """Whether it is for links with a MAC header -> descriptor."""
    way: Way


@pytest.fixture(scope="module", params=("tcx", "clsact"))
def where(request: pytest.FixtureRequest) -> Iterator[Site]:
    way: Way = Tcx(Order.FIRST) if request.param == "tcx" else Clsact(Order.FIRST)
    with three_hosts() as hosts:
        made = tables.make_tables(64)
        rows = Rows(made)
        programs = {has_mac: program.load(made, has_mac, way.has_lease) for has_mac in (True, False)}
        with hosts.gateway.inside():
            attached = [way.attach(programs[True], socket.if_nametoindex(name)) for name in ("lan0", "wan0")]
        yield Site(hosts, rows, programs, way)
        with hosts.gateway.inside():
            for one in attached:
                one.remove()
        for descriptor in programs.values():
            os.close(descriptor)
        rows.close()
        made.close()


@pytest.fixture(autouse=True)
def lease(where: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far longer than that of a daemon, which moves it on all the time: a test has nobody who does, and may be held
    up."""
    monkeypatch.setattr(tables, "LEASE_SECONDS", 3600.0)
    where.rows.keep()


class Stream:
    """A socket of the client, one of the server, and a row from the one to the other."""

    def __init__(self, where: Site, version: int) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with where.hosts.client.inside():
            self.client = socket.socket(family, socket.SOCK_DGRAM)
            self.client.bind((CLIENT[version], 0))
        with where.hosts.server.inside():
            self.server = socket.socket(family, socket.SOCK_DGRAM)
            self.server.bind((SERVER[version], 0))
        self.server.settimeout(SECONDS)
        self.place, self.ours = (PLACE[version], AT), (OURS[version], 5002)
        row = where.rows.put(self.client.getsockname(), self.place, self.ours, self.server.getsockname(), 0)
        assert row is not None
        self.row: Row = row

    def carries(self, data: bytes) -> bool:
        """Whether the server gets this from the address of ours."""
        self.client.sendto(data, self.place)
        got, source = self.server.recvfrom(65535)
        return got == data and source[:2] == self.ours

    def receives_nothing(self) -> bool:
        return not select.select([self.server], [], [], 0.05)[0]

    def close(self) -> None:
        self.row.take_back()
        self.client.close()
        self.server.close()


@pytest.fixture(params=(4, 6))
def stream(request: pytest.FixtureRequest, where: Site) -> Iterator[Stream]:
    stream = Stream(where, request.param)
    yield stream
    stream.close()


@pytest.fixture
def stream_4(where: Site) -> Iterator[Stream]:
    stream = Stream(where, 4)
    yield stream
    stream.close()


@pytest.mark.parametrize("card", ("finishes checksums", "does not"))
def test_every_length_arrives_with_a_right_checksum(where: Site, stream: Stream, card: str) -> None:
    """The server's socket takes nothing else, but of a packet whose checksum is still left to a card. So the last card,
    at the latest, finishes it."""
    lengths = (*range(20), 172, 500, 1451, 1452)
    with offload(where.hosts.client, "eth0", card == "finishes checksums"), offload(where.hosts.gateway, "wan0", False):
        for length in lengths:
            assert stream.carries(os.urandom(length))
    assert stream.row.counts() == (len(lengths), sum(lengths))


@contextlib.contextmanager
def offload(host: Namespace, interface: str, is_on: bool) -> Iterator[None]:
    """Whether packets leave it with a checksum that is left to the card. By themselves they do."""
    _set_offload(host, interface, is_on)
    try:
        yield
    finally:
        _set_offload(host, interface, True)


def _set_offload(host: Namespace, interface: str, is_on: bool) -> None:
    """ETHTOOL_STXCSUM."""
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        value = memoryview(bytearray(struct.pack("=II", SET_TX_CHECKSUMS, is_on)))
        address = (ctypes.c_char * len(value)).from_buffer(value)
        fcntl.ioctl(sock, ETHTOOL, struct.pack("16sQ16x", interface.encode(), ctypes.addressof(address)))


def test_hops_and_type_of_service_are_those_of_a_forwarded_packet(stream_4: Stream) -> None:
    stream_4.client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
    stream_4.client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8)
    stream_4.server.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    stream_4.server.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    for _ in range(2):  # one asks for the route, the next has it remembered
        stream_4.client.sendto(b"x", stream_4.place)
        said = {kind: value[0] for _, kind, value in stream_4.server.recvmsg(9, 128)[1]}
        assert said == {socket.IP_TTL: 32, socket.IP_TOS: 0xB8}


def test_nothing_passes_once_the_row_is_taken_back(stream: Stream) -> None:
    assert stream.carries(b"before")
    assert stream.row.take_back() == (1, 6)
    stream.client.sendto(b"after", stream.place)
    assert stream.receives_nothing()


SERVICES = pytest.mark.parametrize("service", ("10.1.0.1", "192.0.2.1", "127.0.0.1", "fd01::1", "2001:db8::1", "::1"))


@SERVICES
def test_no_row_reaches_a_service_of_this_host(where: Site, service: str) -> None:
    """Not even one of a daemon that somebody else has taken over."""
    stream, listening = Stream(where, ip_address(service).version), service_at(where, service)
    with as_nobody():
        row = where.rows.put(stream.client.getsockname(), stream.place, stream.ours, listening.getsockname(), 0)
    assert row is not None and row.is_in_force
    stream.client.sendto(b"x", stream.place)
    assert not select.select([listening], [], [], 0.05)[0]
    assert is_heard(stream, listening) and row.take_back() == (0, 0)
    listening.close()
    stream.close()


@SERVICES
def test_no_row_that_is_forged_while_its_route_is_remembered_reaches_a_service_of_this_host(
    where: Site, service: str
) -> None:
    """Memory takes whatever a daemon that somebody has taken over writes, and for a second no look-up judges it. But a
    packet goes to the card of the neighbour that the last look-up has found, whatever address it bears."""
    stream, listening = Stream(where, ip_address(service).version), service_at(where, service)
    peer = stream.server.getsockname()

    def passes_by_the_remembered_route() -> bool:
        where.rows.keep()
        rewrite(where, stream, stream.ours, peer)
        assert stream.carries(b"asks for the route") and stream.carries(b"has it remembered")
        with as_nobody():
            rewrite(where, stream, peer, listening.getsockname())
        stream.client.sendto(b"forged", stream.place)
        assert not select.select([listening, stream.server], [], [], 0.05)[0]
        return stream.row.counts() == (1, 6)

    until(passes_by_the_remembered_route)  # at once, unless the machine is so busy that a second has passed
    assert is_heard(stream, listening)
    listening.close()
    stream.close()


def service_at(where: Site, host: str, port: int = 0) -> socket.socket:
    """A socket of a service of the gateway."""
    with where.hosts.gateway.inside():
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        listening.bind((host, port))
    return listening


def is_heard(stream: Stream, listening: socket.socket) -> bool:
    """Whether the service hears what is sent to it, and only this. On loopback it hears nobody from outside."""
    service = listening.getsockname()
    stream.client.sendto(b"to the service", service[:2])
    if ip_address(service[0]).is_loopback:
        return not select.select([listening], [], [], 0.05)[0]
    return bool(select.select([listening], [], [], SECONDS)[0]) and listening.recv(99) == b"to the service"


def rewrite(where: Site, stream: Stream, out: tables.Address, to: tables.Address) -> None:
    """Write into the memory of the stream's row, whose counts begin anew, where its packets go on."""
    before = packed(stream.client.getsockname()[0]) + packed(stream.place[0])
    after = packed(out[0]) + packed(to[0])
    ports, new_ports = (struct.pack("!HH", *each) for each in ((stream.client.getsockname()[1], AT), (out[1], to[1])))
    where.rows._write(stream.row, before, after, ports, new_ports, 0)


@VERSIONS
def test_a_row_withholds_from_a_service_the_packets_that_it_names_and_no_others(where: Site, version: int) -> None:
    """That is new in the hands of somebody who has taken a daemon over (docs/fastpath.md, "Rights")."""
    stream, service = Stream(where, version), service_at(where, PLACE[version], AT)
    stream.row.take_back()
    with where.hosts.client.inside():
        another = socket.socket(service.family, socket.SOCK_DGRAM)
        another.bind((CLIENT[version], 0))

    def hears(sender: socket.socket, patience: float = SECONDS) -> bool:
        sender.sendto(b"x", stream.place)
        is_there = bool(select.select([service], [], [], patience)[0])
        return is_there and service.recvfrom(9)[1][:2] == sender.getsockname()[:2]

    assert hears(stream.client)
    with as_nobody():
        row = where.rows.put(stream.client.getsockname(), stream.place, stream.ours, stream.server.getsockname(), 0)
    assert row is not None and not hears(stream.client, 0.05)
    assert stream.server.recv(9) == b"x" and row.counts() == (1, 1)
    assert hears(another)  # by another port of the same host
    service.sendto(b"answer", stream.client.getsockname())
    assert select.select([stream.client], [], [], SECONDS)[0] and stream.client.recv(9) == b"answer"
    row.take_back()
    assert hears(stream.client)
    for sock in (service, another):
        sock.close()
    stream.close()


def test_a_neighbour_is_looked_after_although_no_packet_passes_netfilter(where: Site, stream: Stream) -> None:
    """First one that nobody knows, then one whose entry has grown old: a phone that was replaced has another card."""
    address = stream.server.getsockname()[0]
    neighbour = ("ip", "neigh", "show", address, "dev", "wan0")
    where.hosts.gateway.run("ip", "neigh", "flush", "dev", "wan0")
    assert stream.carries(b"to an unknown neighbour")
    lladdr = where.hosts.gateway.run(*neighbour).split()[2]
    where.hosts.gateway.run("ip", "neigh", "replace", address, "lladdr", lladdr, "dev", "wan0", "nud", "stale")
    assert stream.carries(b"route not remembered yet, or remembered")

    def is_looked_after() -> bool:
        assert stream.carries(b"and again")
        return "STALE" not in where.hosts.gateway.run(*neighbour)

    until(is_looked_after)


def test_headers_that_are_in_another_piece_of_memory_are_reached(where: Site, stream_4: Stream) -> None:
    """A frame that a virtual card hands over with its MAC header alone in the first piece."""
    where.hosts.client.run("ip", "link", "set", "eth0", "mtu", "9000")
    where.hosts.gateway.run("ip", "link", "set", "lan0", "mtu", "9000")
    where.hosts.gateway.run("ip", "link", "set", "wan0", "mtu", "9000")
    where.hosts.server.run("ip", "link", "set", "eth0", "mtu", "9000")
    data = os.urandom(5000)
    header = struct.pack("=BBHHHH", 0, 0, 14, 0, 0, 0)
    with raw(where) as sock:
        sock.setsockopt(263, PACKET_VNET_HDR, 1)
        sock.send(header + frame(where, stream_4, data))
    assert stream_4.server.recv(65535) == data
    assert stream_4.row.counts() == (1, 5000)


def test_a_frame_with_a_tag_is_for_an_interface_of_its_vlan(where: Site, stream_4: Stream) -> None:
    tagged = frame(where, stream_4, b"x")
    with raw(where) as sock:
        sock.send(tagged[:12] + b"\x81\x00\x00\x07" + tagged[12:])
    assert stream_4.receives_nothing() and stream_4.row.counts() == (0, 0)


def test_datagrams_that_are_still_one_packet_are_left_to_the_socket(where: Site, stream_4: Stream) -> None:
    with where.hosts.gateway.inside():
        place = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        place.bind(stream_4.place)
    place.settimeout(SECONDS)
    # Who leaves checksums to the card, as the client does, leaves it the cutting, too.
    stream_4.client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
    stream_4.client.sendto(bytes(300), stream_4.place)
    with place:
        assert [len(place.recv(999)) for _ in range(3)] == [100] * 3
    assert stream_4.row.counts() == (0, 0)


@VERSIONS
def test_a_link_without_a_mac_header_is_served_both_ways(where: Site, version: int) -> None:
    """A tunnel in the place of the client's link; to its end there is no neighbour to be found."""
    gateway, inner = where.hosts.gateway, {4: ("10.9.0.1/24", "10.9.0.2"), 6: ("fd09::1/64", "fd09::2")}[version]
    with gateway.inside():
        tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
        gateway.run("ip", "address", "add", inner[0], "dev", "tun0", *(("nodad",) if version == 6 else ()))
        gateway.run("ip", "link", "set", "tun0", "up")
        attached = where.way.attach(where.programs[False], socket.if_nametoindex("tun0"))
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with where.hosts.server.inside():
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((SERVER[version], 0))
    server.settimeout(SECONDS)
    client, place = (inner[1], 4000), (inner[0].partition("/")[0], AT)
    ours, peer = (OURS[version], 5004), server.getsockname()
    there, back = where.rows.put(client, place, ours, peer, 0), where.rows.put(peer, ours, place, client, 0)
    assert there is not None and back is not None
    with offload(where.hosts.server, "eth0", False):  # a tunnel hands a checksum over as it is
        for number in range(3):
            os.write(tun, packet(client, place, b"there %d" % number))
            data, source = server.recvfrom(999)
            assert (data, source[:2]) == (b"there %d" % number, ours)
            server.sendto(b"back %d" % number, ours)
            expected = packet(place, client, b"back %d" % number, hops=63)
            assert without_numbers(next_udp(tun, version)) == without_numbers(expected)
    assert there.take_back() == (3, 21) and back.take_back() == (3, 18)
    server.close()
    with gateway.inside():
        attached.remove()
    os.close(tun)


def next_udp(tun: int, version: int) -> bytes:
    """The next datagram that comes out of the tunnel, which IPv6 also talks to itself by."""
    while True:
        assert select.select([tun], [], [], SECONDS)[0]
        data = os.read(tun, 2000)
        if data[0] >> 4 == version and data[9 if version == 4 else 6] == socket.IPPROTO_UDP:
            return data


def without_numbers(data: bytes) -> bytes:
    """An IP packet but for what its sender chooses: the flow label, or the identification and with it the checksum of
    the header, which has to be right."""
    if data[0] >> 4 == 6:
        return data[:1] + data[4:]
    assert ones_sum(data[:20]) == 0xFFFF
    return data[:4] + data[8:10] + data[12:]


def raw(where: Site) -> socket.socket:
    with where.hosts.client.inside():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("eth0", 0))
    return sock


def frame(where: Site, stream: Stream, data: bytes) -> bytes:
    with where.hosts.gateway.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("lan0", 0))
        mac = bytes(sock.getsockname()[4])
    whole = packet(stream.client.getsockname(), stream.place, data)
    return mac + bytes(6) + ETHERTYPES[ip_address(stream.place[0]).version] + whole
