"""A gateway for datagrams, in a namespace between a client and a server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from socket import socket as Socket
from typing import Any, Self

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Effect
from proxy.host import rules
from proxy.sessions.listener import DatagramListener, loopback
from tests.harness.shell import PassOn, Shell, close_all, descriptors
from tests.harness.waiting import pause
from tests.netns.kernel_path import KernelPath
from tests.netns.namespaces import Hosts, Namespace

PORT = 5060
SECONDS = 30
"""How long what must come is waited for. The gateway is a part of this process, which may get no turn for seconds, and
then a loop calls what is due before it looks at its sockets."""


class InCalls(PassOn):
    """An engine that is needed from the datagram `call` on, until one says `over`."""

    is_called = False

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self.is_called = data == b"call" or (self.is_called and data != b"over")
        return super().receive(side, data, now)

    def is_needed(self) -> bool:
        return self.is_called


class Gateway:
    """The listeners and rules around a shell; the loop runs in the gateway's namespace."""

    def __init__(
        self, hosts: Hosts, *arguments: Any, backend: rules.Backend = rules.Backend.NFT, **keywords: Any
    ) -> None:
        self.before = descriptors()
        self.hosts = hosts
        self.shell = Shell(*arguments, **keywords)
        self.peers: list[socket.socket] = []
        for step in rules.steps(self.shell.config, backend):
            hosts.gateway.run(*step.command, stdin=step.stdin)
        port = self.shell.config.network.listen_port
        self.listeners = [DatagramListener(at, self.shell.flows) for at in loopback(port)]
        self._path = KernelPath(self.shell)

    async def __aenter__(self) -> Self:
        await self._path.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for peer in self.peers:
            peer.close()
        for listener in self.listeners:
            listener.close()
        await close_all()
        self._path.stop()
        assert descriptors() <= self.before

    def socket(self, namespace: Namespace, host: Any, port: int = PORT) -> Socket:
        address = ip_address(str(host))
        with namespace.inside():
            sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((str(address), port))
        self.peers.append(sock)
        return sock

    def client(self, version: int = 4, port: int = PORT) -> Socket:
        return self.socket(self.hosts.client, self.hosts.client_address(version), port)

    def server(self, version: int = 4, port: int = PORT) -> Socket:
        return self.socket(self.hosts.server, self.hosts.server_address(version), port)


async def hear(sock: socket.socket) -> tuple[bytes, tuple[Any, ...]]:
    """The next datagram, and whom it is from. Raises TimeoutError."""
    async with asyncio.timeout(SECONDS):
        return await _receive(sock)


def unread() -> list[int]:
    """The bytes that wait, as the kernel counts them, at each UDP socket of this namespace at which some do. What has
    just been sent may not be among them: on a busy machine a thread of the kernel delivers it, when that has its turn.
    """
    tables = [Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:] for name in ("udp", "udp6")]
    waiting = [int(line.split()[4].partition(":")[2], 16) for lines in tables for line in lines]
    return [size for size in waiting if size]


async def while_busy(step: Callable[[], object], seconds: float) -> float:
    """Something comes by this step while the gateway hears somebody else, for so long. Returns when it had come, by the
    monotonic clock: never, if what it was for was over before."""
    busy, caller = socket.socketpair()
    done = asyncio.Event()
    came = float("inf")

    def hear_somebody_else() -> None:
        nonlocal came
        end = time.monotonic() + seconds
        step()
        while time.monotonic() < end:
            if unread():
                came = min(came, time.monotonic())
            time.sleep(0.01)
        done.set()

    with busy, caller:
        asyncio.get_running_loop().add_reader(busy, hear_somebody_else)
        caller.send(b"x")
        await done.wait()
        asyncio.get_running_loop().remove_reader(busy)
    return came


async def silence(sock: socket.socket) -> None:
    """Nothing comes for a while, and what others have sent meanwhile is read. Fails when something comes."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await _receive(sock)
    await pause(0)


async def _receive(sock: socket.socket) -> tuple[bytes, tuple[Any, ...]]:
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(sock, arrived.set)
    try:
        await arrived.wait()
        data, address = sock.recvfrom(65535)
        return data, address[:2]
    finally:
        loop.remove_reader(sock)
