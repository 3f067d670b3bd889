"""Reserved ports: only a privileged process can bind them, and rsh and its kin trust a peer for that (rcmd(3),
rresvport(3)).

A peer at a port below 1024 claims to be root on its host. So a reserved port of ours stands only for a peer that came
from such a port itself: no peer gains trust by passing through here. (Linux' own NAT keeps to that as well.)
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Collection, Iterator, Set
from itertools import chain

from protocols.contract.addresses import RESERVED_PORTS, Endpoint, Host, Transport
from proxy.errors import SocketError
from proxy.sockets.ports import PortPool

FIRST, LAST = RESERVED_PORTS[0], RESERVED_PORTS[-1]
SERVICES = frozenset({512, 513, 514, 515, 543, 544, 587, 623, 631, 636, 664, 749, 853, 873, 989, 990, 993, 995})
"""Ports of services that may be started on this host later. Lists of bindresvport(3) have the same ones."""
MOST_LEASED = 128
"""How many ports of one address pinholes may have: the rest is for this host's own use, such as mounts of NFS."""
MOST_OF_ONE_CLIENT = 64
"""How many of them one client's pinholes may have, so that others find some left."""
LEAST_CHOSEN = 665
"""Hosts choose from here upwards for themselves: Linux (sunrpc.min_resvport), and rsh, which counts down from 1023."""


def is_reserved(port: int) -> bool:
    """Whether this is a reserved port."""
    return port in RESERVED_PORTS


class ReservedPorts(PortPool):
    """The reserved ports of each address of ours that pinholes may have."""

    def __init__(self, taken: Set[int] = frozenset()) -> None:
        super().__init__(FIRST, LAST, taken=taken | SERVICES)
        self._of_client: Counter[str] = Counter()

    def keep_off(self, taken: Set[int]) -> None:
        """These ports belong to others from now on."""
        self.use(FIRST, LAST, taken | SERVICES)

    def candidates(self, transport: Transport, host: Host) -> Iterator[int]:
        """As in `PortPool`, but none once pinholes have their share of the address."""
        return super().candidates(transport, host) if self.leased(transport, host) < MOST_LEASED else iter(())

    def has_room(self, client: str) -> bool:
        """Whether the pinholes of this client may have one more."""
        return self._of_client[client] < MOST_OF_ONE_CLIENT

    def take(self, client: str) -> None:
        """A pinhole of this client has one more."""
        self._of_client[client] += 1

    def give(self, client: str) -> None:
        """A pinhole of this client has given its port back."""
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]

    def sources(self, peer: Endpoint, host: Host) -> Iterator[int]:
        """The ports of `host` to dial from, for this peer: the peer's own port first and then other reserved ones, if
        the peer's port is reserved; otherwise any port (0). On the peer's own address the port is never the same, nor
        soon one that the peer itself comes from: the kernel's connection tracking would take both connections for
        one."""
        if not is_reserved(peer.port):
            return iter((0,))
        others = super().candidates(Transport.TCP, host)
        if host == peer.host:
            # Ports of either kind stay in their random order.
            return iter(sorted((port for port in others if port != peer.port), key=lambda port: port >= LEAST_CHOSEN))
        return chain((peer.port,), others)


def check(helpers: Collection[str]) -> None:
    """Raises SocketError when this process may not bind a reserved port, which these helpers need."""
    # Where that cannot be tried now, since no descriptor is left or the port is taken, nobody knows that it may not.
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("127.0.0.1", LAST))
        except PermissionError as error:
            raise SocketError(
                f"ports below 1024 cannot be bound, from which {' and '.join(helpers)} dial: run as root, give the "
                "process CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_RAW CAP_NET_BIND_SERVICE), or "
                "leave these helpers out of `session-helpers`"
            ) from error
