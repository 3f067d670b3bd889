"""Which interfaces have the program, by what the kernel says of them: also kinds that a test machine may not have."""

from __future__ import annotations

import socket
import struct

import pytest

from proxy.holder.watching import Interface, read_interface
from proxy.sockets import netlink

ETHERNET, PPP, RAW_IP, NONE, CAN, LOOPBACK = 1, 512, 519, 0xFFFE, 280, 772
IS_LOOPBACK = 1 << 3
NAME, MASTER, ABOUT = 3, 10, 18
KIND, SLAVE_KIND = 1, 4


def said(hardware: int, flags: int = 0, of: str = "", nested: int = 0) -> bytes:
    """What rtnetlink says of an interface. of: the kind of the one that it is a port of."""
    about = netlink.attribute(SLAVE_KIND, of.encode() + b"\0") if of else netlink.attribute(KIND, b"veth\0")
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, hardware, 7, flags, 0) + netlink.attribute(NAME, b"some0\0")
    body += netlink.attribute(MASTER, struct.pack("=I", 3)) if of else b""
    return body + netlink.attribute(ABOUT | nested, about)


@pytest.mark.parametrize(("hardware", "has_mac"), [(ETHERNET, True), (PPP, False), (RAW_IP, False), (NONE, False)])
def test_ethernet_and_links_without_a_header_have_it(hardware: int, has_mac: bool) -> None:
    assert read_interface(said(hardware)) == Interface(7, "some0", has_mac)


@pytest.mark.parametrize("hardware", [CAN, LOOPBACK, 0])
def test_other_hardware_has_not(hardware: int) -> None:
    assert read_interface(said(hardware)) is None


def test_loopback_has_not_whatever_its_hardware() -> None:
    assert read_interface(said(ETHERNET, IS_LOOPBACK)) is None


@pytest.mark.parametrize("nested", [0, 0x8000])
@pytest.mark.parametrize("kind", ["bridge", "bond", "team", "openvswitch"])
def test_ports_have_not_since_their_packets_come_by_what_they_are_ports_of(kind: str, nested: int) -> None:
    assert read_interface(said(ETHERNET, of=kind, nested=nested)) is None


def test_an_interface_of_a_vrf_has_its_addresses_itself() -> None:
    assert read_interface(said(ETHERNET, of="vrf")) == Interface(7, "some0", has_mac=True)
