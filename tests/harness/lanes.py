"""A lane on loopback, with a sender, a receiver and two sockets of ours between them."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

from proxy.movers.lanes import Lane, Mover, Movers
from proxy.movers.stands import Stand
from proxy.movers.userspace import UserSpace
from proxy.sockets import packet_info
from proxy.sockets.endpoint import EVERYBODY, UdpEndpoint
from proxy.sockets.packet_info import Address, Ancillary
from proxy.sockets.readers import Readers
from tests.harness.waiting import attempts, pause


def open_socket(version: int = 4) -> socket.socket:
    """A UDP socket on a free port of loopback."""
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1" if version == 4 else "::1", 0))
    sock.setblocking(False)
    return sock


class Site:
    """A sender, a receiver, and a lane between them with its two sockets."""

    def __init__(self, others: tuple[Mover, ...] = ()) -> None:
        self._readers = Readers(asyncio.get_running_loop())
        self.strangers: list[Address] = []
        self.seen: list[bytes] = []
        self.is_admitted = True
        self.sender, self.receiver = open_socket(), open_socket()
        self.at, self.out = self.endpoint(), self.endpoint()
        self.stand = Stand(self.at, None)
        self.at.read()
        self.movers = Movers(UserSpace({}), others)
        self.lane = Lane(self.movers, self, self.receiver.getsockname())
        self.lane.start(self.sender.getsockname(), self.stand, self.out)

    def watch(self, data: bytes) -> None:
        self.seen.append(data)

    def endpoint(self, version: int = 4) -> UdpEndpoint:
        """A socket of ours."""
        for _ in attempts(told="somebody else is given each port that was free"):
            with open_socket(version) as free:
                at = packet_info.endpoint(free.getsockname())
            try:
                endpoint = UdpEndpoint(self._readers, at, EVERYBODY, self._stranger, True, may_share=False)
            except OSError as error:
                # Loopback is the whole machine's: somebody else may have been given the port that was free.
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                break
        return endpoint

    def _stranger(self, at: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self.strangers.append(source)

    async def settle(self) -> None:
        """The lane is settled, and has been offered by a packet of two bytes."""
        self.lane.settle()
        await self.send(b"go")
        assert next(self.received()) == b"go"

    async def send(self, data: bytes, sender: socket.socket | None = None) -> None:
        """Send a packet, and wait until it, and all before it, have been read."""
        (sender or self.sender).sendto(data, self.at.address)
        await pause(0.01)
        while self.at.has_left():
            await pause(0.001)

    def received(self, receiver: socket.socket | None = None) -> Iterator[bytes]:
        while True:
            try:
                yield (receiver or self.receiver).recv(2000)
            except BlockingIOError:
                return

    def admits(self, source: Address, ancillary: object) -> bool:
        return self.is_admitted

    def give_up(self) -> None:
        raise AssertionError

    def close(self) -> None:
        for endpoint in (self.at, self.out):
            endpoint.close()
        for sock in (self.sender, self.receiver):
            sock.close()
