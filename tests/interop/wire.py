"""What a network's addresses look like on the wire, in headers of packets and in text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from protocols.contract.addresses import Network


def headers(frames: Sequence[bytes]) -> Iterator[IPv4Address | IPv6Address]:
    """Source and destination of every packet."""
    for frame in frames:
        if frame[12:14] == b"\x08\x00":
            yield from (ip_address(frame[26:30]), ip_address(frame[30:34]))
        elif frame[12:14] == b"\x86\xdd":
            yield from (ip_address(frame[22:38]), ip_address(frame[38:54]))


def written(network: Network) -> list[bytes]:
    """The beginning of each address in a network of the lab, as protocols write it (FTP's PORT with commas)."""
    if network.version == 4:
        numbers = str(network.network_address).split(".")[:3]
        return [(mark.join(numbers) + mark).encode() for mark in ".,"]
    return [str(network.network_address).removesuffix(":").encode()]
