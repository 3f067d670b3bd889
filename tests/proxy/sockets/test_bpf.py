"""Programs that choose a listener by the source of a packet: run here as the kernel would, and given to the kernel."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Endpoint, Host, Network, only
from proxy.sockets import bpf, streams, transparent
from tests.proxy.conftest import CLIENT, CLIENT6, OURS, SERVER, SERVER6, STRANGER

SYN, ACK, RST = 0x02, 0x10, 0x04


def packet(source: Host, flags: int = SYN, options: int = 0) -> bytes:
    """A packet from there, from its IP header on; options: words of them in an IPv4 header."""
    tcp = bytes(13) + bytes((flags,)) + bytes(6)
    if source.version == 4:
        head = bytes((0x45 + options,)) + bytes(11) + source.packed + bytes(4 + 4 * options)
    else:
        head = bytes((0x60, 0, 0, 0, 0, 0, 6, 64)) + source.packed + bytes(16)
    return head + tcp


def run(program: bytes, data: bytes) -> int:
    """As linux/filter.h has it: what a program answers to a packet."""
    a = x = at = 0
    while True:
        operand: int
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        offset = operand - bpf._HEADER
        match code:
            case 0x20:
                a = int.from_bytes(data[offset : offset + 4], "big")
            case 0x30:
                a = data[offset]
            case 0x50:
                a = data[x + offset]
            case 0x54:
                a &= operand
            case 0x64:
                a <<= operand
            case 0x07:
                x = a
            case 0x15:
                at += if_true if a == operand else if_false
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"no instruction: {code:#x}")


Version = Literal[4, 6]
V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


def networks(version: Version) -> st.SearchStrategy[list[Network]]:
    bits = 32 if version == 4 else 128
    near = st.integers(0, 600).map(lambda number: ip_address(int(BASE[version]) + number))
    one = st.tuples(near | st.ip_addresses(v=version), st.sampled_from([0, 1, 20, 24, 31, 33, 64, bits, bits, bits]))
    made = one.map(lambda pair: ip_network((pair[0], min(pair[1], bits)), strict=False))
    return st.lists(made, max_size=20)


BASE = {4: IPv4Address("10.1.0.0"), 6: IPv6Address("fd01::")}


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
def test_whoever_is_in_a_network_of_the_list_is_let_in_and_nobody_else(version: Version, data: st.DataObject) -> None:
    allow = data.draw(networks(version))
    near = st.integers(0, 600).map(lambda number: ip_address(int(BASE[version]) + number))
    source = data.draw(near | st.ip_addresses(v=version))
    program = next(bpf.new_from(version, allow))
    expected = bpf.IN_PLACE if any(source in network for network in allow) else bpf.ASIDE
    assert run(program, packet(source)) == expected


@pytest.mark.parametrize("source", ["10.1.0.2", "fd01::2"])
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, RST, RST | ACK, 0])
def test_what_does_not_begin_a_connection_passes_whomever_it_is_from(source: str, flags: int) -> None:
    host = ip_address(source)
    program = next(bpf.new_from(host.version, only(host)))
    assert run(program, packet(host, flags)) == bpf.ASIDE
    assert run(program, packet(host)) == bpf.IN_PLACE


def test_options_in_an_ipv4_header_hide_nothing() -> None:
    host = ip_address("10.1.0.2")
    program = next(bpf.new_from(4, only(host)))
    assert run(program, packet(host, SYN, options=10)) == bpf.IN_PLACE
    assert run(program, packet(host, ACK, options=10)) == bpf.ASIDE


def many(version: int, count: int) -> set[Network]:
    step = 1 if version == 4 else 0x1_0001
    return {ip_network(ip_address(int(BASE[version]) + number * step)) for number in range(count)}


@pytest.mark.parametrize(("version", "count"), [(4, 4000), (6, 450)])
def test_so_many_hosts_are_told_apart(version: int, count: int) -> None:
    program = next(bpf.new_from(version, many(version, count)))
    for number in (0, count - 1, count, count + 1000):
        step = 1 if version == 4 else 0x1_0001
        source = ip_address(int(BASE[version]) + number * step)
        assert run(program, packet(source)) == (bpf.IN_PLACE if number < count else bpf.ASIDE)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("count", [5000, 20_000])
def test_of_more_hosts_than_fit_their_networks_are_let_in(version: int, count: int) -> None:
    """None of them is left out; at the door it is known who is one of them."""
    allow = many(version, count)
    program = next(bpf.new_from(version, allow))
    assert len(program) <= 8 * bpf.MAX_INSTRUCTIONS
    for network in list(allow)[:: count // 50]:
        assert run(program, packet(network.network_address)) == bpf.IN_PLACE
    elsewhere = ip_address("192.0.2.1" if version == 4 else "2001:db8::1")
    assert run(program, packet(elsewhere)) == bpf.ASIDE


# -- the kernel's opinion ----------------------------------------------------------------------------------------------


def arrives(source: str, pair: tuple[socket.socket, socket.socket]) -> bool:
    """Whether a new connection from there is for the listener in place, not for the one aside. All are on this host."""
    with socket.socket(pair[0].family) as sock:
        sock.bind((source, 0))
        sock.connect(pair[0].getsockname()[:2])
        (found,), _, _ = select.select(pair, (), ())
        arrival = transparent.accept(found)
        assert arrival is not None
        streams.reset(arrival[0])
        return found is pair[0]


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(("client", "other", "server"), [(CLIENT, STRANGER, SERVER), (CLIENT6, SERVER6, SERVER6)])
def test_the_kernel_takes_new_lists_while_the_listener_stands(client: str, other: str, server: str) -> None:
    target = Endpoint(ip_address(server), 45678)
    pair = sock, aside = transparent.listen_in_place(target, 8)
    version = target.host.version
    with sock, aside:
        assert not arrives(client, pair)
        transparent.admit(aside, only(ip_address(client)))
        assert arrives(client, pair) and not arrives(other, pair)
        transparent.admit(aside, many(version, 5000) | set(only(ip_address(other))))
        assert arrives(other, pair)
        transparent.admit(aside, ())
        assert not arrives(client, pair)


@pytest.mark.usefixtures("network")
def test_where_the_kernel_has_little_room_for_programs_a_shorter_one_does() -> None:
    """`net.core.optmem_max` was 20 KiB for long, and is what an administrator makes it."""
    Path("/proc/sys/net/core/optmem_max").write_text("4096")
    target = Endpoint(ip_address(SERVER), 45678)
    pair = sock, aside = transparent.listen_in_place(target, 8)
    with sock, aside:
        transparent.admit(aside, many(4, 4000) | set(only(ip_address(CLIENT))))
        assert arrives(CLIENT, pair)
        assert not arrives("127.0.0.1", pair)


@pytest.mark.usefixtures("network")
def test_where_the_kernel_has_no_room_at_all_the_listener_cannot_be_had_and_nothing_is_left() -> None:
    Path("/proc/sys/net/core/optmem_max").write_text("16")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as failure:
        transparent.listen_in_place(Endpoint(ip_address(OURS), 45678), 8)
    assert failure.value.errno in (errno.ENOMEM, errno.ENOBUFS)
    assert len(os.listdir("/proc/self/fd")) == before
