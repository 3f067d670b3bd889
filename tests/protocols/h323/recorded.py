"""Every message of the captures, as (what it is, its octets)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from protocols.contract.addresses import Side
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
