"""Sessions that begin while our rules are not there, and so pass unread. Connection tracking tells of each connection
whose first packet has passed (ctnetlink); it is listened to only for that time, so it costs nothing otherwise. Where no
rule of the host asks for connection tracking, it tells of none."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address

from protocols.contract.addresses import Endpoint
from proxy.config.schema import Config
from proxy.host import news
from proxy.sockets import netlink

NEW_CONNECTIONS = 1 << 0  # NFNLGRP_CONNTRACK_NEW
_NFNL_SUBSYS_CTNETLINK = 1
_HEADER_BYTES = 4  # struct nfgenmsg
_NUMBER = 0x3FFF  # without the flags that the number of an attribute may have
_TUPLE_ORIG, _TUPLE_IP, _TUPLE_PROTO = 1, 1, 2
_SOURCES, _DESTINATIONS = (1, 3), (2, 4)  # CTA_IP_V4_SRC, CTA_IP_V6_SRC, and so on
_PROTOCOL, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_PROTOCOLS = {6: "tcp", 17: "udp"}
SO_RCVBUFFORCE = 33
_WAITING_BYTES = 1 << 20
LISTED = 100
"""How many sessions are named. Further ones are only counted."""


class Passed:
    """Listens from its making to its closing."""

    def __init__(self, config: Config) -> None:
        """Raises OSError without CAP_NET_ADMIN."""
        self._ports = [(entry.protocol.value, ports) for entry in config.served for ports in entry.ports]
        self._sock = news.socket_for(news.NETLINK_NETFILTER, NEW_CONNECTIONS)
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _WAITING_BYTES)

    def close(self) -> tuple[int, list[str]]:
        """Stop listening. Returns how many sessions to ports of the session-helper table have begun, and the first of
        them as `tcp CLIENT > SERVER`. There may have been more, if more came than could wait."""
        count, listed = 0, []
        with self._sock, contextlib.suppress(OSError):
            while True:
                for protocol, client, server in connections(os.read(self._sock.fileno(), news.RECEIVE_BYTES)):
                    if any(protocol == name and server.port in ports for name, ports in self._ports):
                        count += 1
                        listed += [f"{protocol} {client} > {server}"] if count <= LISTED else []
        return count, listed


def connections(messages: bytes) -> Iterator[tuple[str, Endpoint, Endpoint]]:
    """The protocol, the client and the server of each connection in these messages of ctnetlink."""
    for kind, body in netlink.messages(messages):
        if kind >> 8 != _NFNL_SUBSYS_CTNETLINK:
            continue
        way = _numbered(_numbered(body[_HEADER_BYTES:]).get(_TUPLE_ORIG, b""))
        hosts, protocol = _numbered(way.get(_TUPLE_IP, b"")), _numbered(way.get(_TUPLE_PROTO, b""))
        name = _PROTOCOLS.get(int.from_bytes(protocol.get(_PROTOCOL, b"")))
        source = next((hosts[number] for number in _SOURCES if number in hosts), None)
        destination = next((hosts[number] for number in _DESTINATIONS if number in hosts), None)
        if name is not None and source is not None and destination is not None:
            ports = [int.from_bytes(protocol.get(number, b"")) for number in (_SOURCE_PORT, _DESTINATION_PORT)]
            yield name, Endpoint(ip_address(source), ports[0]), Endpoint(ip_address(destination), ports[1])


def _numbered(data: bytes) -> dict[int, bytes]:
    """Attributes by their numbers."""
    return {number & _NUMBER: value for number, value in netlink.attributes(data)}
