"""Every message of the captures, as (what it is, its octets); and the calls of one of them, as parties behind a gateway
say them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from ipaddress import IPv4Address

from protocols.contract.addresses import Endpoint, Peers, Side
from protocols.h323 import wire
from protocols.toolbox.packets import Packets
from tests.harness.pcap import Connection, connections, datagrams
from tests.harness.recordings import found
from tests.protocols.h323.messages import FAST_SETUP

OTHERS = ("ndpi-h225-h245.pcap", (1720,), (1232,), (1719,))
ASTERISK = ("asterisk-four-forms.pcap", (1720,), (12030, 12034), ())
"""Name, ports of call signalling, of H.245, and of RAS."""
Capture = tuple[str, Sequence[int], Sequence[int], Sequence[int]]


def packets(connection: Connection) -> Iterator[tuple[Side, bytes]]:
    """The TPKT packets of a connection, in their order."""
    cut: dict[Side, Packets] = {}
    for side, data in connection.said:
        one = cut.setdefault(side, Packets(wire.length_of))
        one.push(data)
        while (packet := one.pop()) is not None:
            yield side, packet


def user_information(packet: bytes) -> bytes:
    signal = wire.read_signal(packet)
    assert signal.user is not None
    return packet[signal.user.start : signal.user.end]


@cache
def messages(capture: Capture) -> tuple[tuple[str, bytes], ...]:
    name, signalling, control, ras = capture
    path = found("h323", name)
    heard: list[tuple[str, bytes]] = []
    for port in signalling:
        for connection in connections(path, port):
            heard += [("UserInformation", user_information(packet)) for _, packet in packets(connection)]
    for port in control:
        for connection in connections(path, port):
            if connection.client.port not in signalling:
                heard += [("Control", packet[wire.HEADER_BYTES :]) for _, packet in packets(connection)]
    heard += [("Ras", one.data) for port in ras for one in datagrams(path, port)]
    return tuple(dict.fromkeys(heard))


def own() -> tuple[tuple[str, bytes], ...]:
    """Those that are in this tree."""
    return ("UserInformation", user_information(FAST_SETUP)), *messages(ASTERISK)


# -- calls of two Asterisk ---------------------------------------------------------------------------------------------

CALLER, CALLEE = IPv4Address("10.1.0.2"), IPv4Address("198.51.100.2")
"""Of the capture."""
OUTSIDE, PUBLISHED = IPv4Address("203.0.113.1"), IPv4Address("192.0.2.7")
"""By what the other one knows them with NAT."""


def recorded() -> list[tuple[Connection, list[Connection]]]:
    """The calls of the capture, each with its H.245 if that has a connection of its own."""
    name, (port,), control, _ = ASTERISK
    path = found("h323", name)
    apart = [
        one for number in control for one in connections(path, number) if one.client.port != 1720 != one.server.port
    ]
    calls = connections(path, port)
    assert (len(calls), len(apart)) == (4, 2)
    return [(call, apart[at : at + 1]) for call, at in zip(calls, (0, 2, 1, 2), strict=True)]


def peers_of(connection: Connection, nat: str) -> Peers:
    """The hosts of the capture, and by what the other side knows them."""
    client, server = connection.client, connection.server
    seen = Endpoint(OUTSIDE, 45000) if nat == "snat" else client
    return Peers(client, seen, server, Endpoint(PUBLISHED, server.port) if nat == "dnat" else server)


def as_it_is_said(side: Side, packet: bytes, nat: str) -> bytes:
    """What a party says who knows the other one by another address than in the capture."""
    other, known = (CALLEE, PUBLISHED if nat == "dnat" else CALLEE)
    if side is Side.SERVER:
        other, known = (CALLER, OUTSIDE if nat == "snat" else CALLER)
    return packet.replace(other.packed, known.packed)
