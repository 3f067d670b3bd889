"""The shell around an engine of the test's own, with a log that can be read back."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Effect, Send
from protocols.contract.engine import Engine, Helper, Options
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes
from proxy.config.schema import Config, HelperEntry, Limits, Policy, Timeouts
from proxy.config.values import PortRange
from proxy.pinholes.table import PinholeTable
from proxy.record.metrics import Metrics
from proxy.record.render import plain
from proxy.sessions.flows import Flows
from proxy.sessions.registry import Sessions
from proxy.sockets.arrival import Arrival
from proxy.sockets.packet_info import endpoint
from proxy.sockets.ports import PortPool
from tests.harness import events

SECONDS = 60
"""For what is sure to come, whatever else the machine has to do."""


@dataclass
class Memory:
    """An audit log in a list; as the real one, it shows peer bytes escaped."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)
    written: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, event: str, **facts: Any) -> None:
        self.lines.append({"event": event, **{key: plain(value) for key, value in {**self.bound, **facts}.items()}})
        events.written(self.lines[-1])
        self.written.set()

    def bind(self, **facts: Any) -> Memory:
        return Memory(self.lines, {**self.bound, **facts}, self.written)

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    def last(self, event: str) -> dict[str, Any]:
        return next(line for line in reversed(self.lines) if line["event"] == event)


class PassOn(Engine):
    """The simplest engine: what one side says goes to the other. Tests override what they are about."""

    def __init__(self, peers: Peers, options: Any, pinholes: Pinholes, now: float) -> None:
        self.peers = peers
        self.pinholes = pinholes
        self.heard: list[PinholeEvent] = []

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        return [Send(side.other, data)]

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        self.heard.append(event)
        return []


@dataclass(frozen=True, slots=True)
class NoOptions(Options):
    """Those that every helper has."""


SHELLS: list[Shell] = []


async def close_all() -> None:
    while SHELLS:
        shell = SHELLS.pop()
        await shell.sessions.drain(0)
        shell.pinholes.close("stopped")
        left: tuple[Sized, ...] = (shell.sessions, shell.pinholes, shell.pinholes.endpoints)
        assert [*map(len, left), shell.ports.in_use()] == [0, 0, 0, 0]


class Shell:
    """Sessions and pinholes as the daemon builds them, for one helper whose engine is given."""

    def __init__(
        self,
        engine: Callable[..., Any] = PassOn,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        traits: Mapping[str, Any] | None = None,
        helper: str = "test",
        others: Mapping[str, Callable[..., Any]] | None = None,
        **policy: Any,
    ) -> None:
        """helper: its name, which an engine may give to a `Reader`. traits: its other fields. others: further
        helpers by their names, each with its engine."""
        self.loop = asyncio.get_running_loop()
        SHELLS.append(self)
        self.log = Memory()
        self.engines: list[Any] = []
        self.has_begun = asyncio.Event()
        """An engine reads."""

        def start(engine: Callable[..., Any]) -> Callable[..., Any]:
            def make(*arguments: Any) -> Any:
                self.engines.append(engine(*arguments))
                self.has_begun.set()
                return self.engines[-1]

            return make

        ports = ((Transport.TCP, 7),)
        helpers = {helper: Helper(helper, "for tests", ports, NoOptions, partial(start, engine), **(traits or {}))}
        for name, other in (others or {}).items():
            helpers[name] = Helper(name, "for tests", ports, NoOptions, partial(start, other))
        self.helper = helpers[helper]
        self.config = config = Config(
            helpers=(
                HelperEntry(id=1, name=helper, protocol=Transport.TCP, ports=(PortRange(1, 65535),)),
                HelperEntry(id=2, name=helper, protocol=Transport.UDP, ports=(PortRange(5060, 5069),)),
                *(
                    HelperEntry(id=number, name=name, protocol=Transport.UDP, ports=(PortRange(number, number),))
                    for number, name in enumerate(others or (), 3)
                ),
            ),
            policies=(Policy.model_construct(**self._policy(policy, helpers)),),
            limits=limits or Limits(),
            timeouts=timeouts or Timeouts(),
        )
        self.metrics = Metrics()
        self.ports = PortPool(40000, 40999)
        self.pinholes = PinholeTable(self.loop, config.limits, config.timeouts, self.ports, self.metrics)
        self.sessions = Sessions(self.loop, config, helpers, self.pinholes, self.log, self.metrics, frozenset())
        self.flows = Flows(self.sessions, self.pinholes.endpoints)

    @staticmethod
    def _policy(changes: dict[str, Any], helpers: Collection[str]) -> dict[str, Any]:
        fields = {
            "name": "all",
            "accept": True,
            "snat": "none",
            "dnat": None,
            "route_mark": None,
            "options": {name: NoOptions() for name in helpers},
        }
        return {"interfaces": (), "sources": (), "destinations": (), "helpers": (), **fields, **changes}

    def begin(self, client: socket.socket, server: Endpoint) -> None:
        """A connection whose far end is `client`'s peer has been redirected to us on its way to `server`."""
        self.sessions.begin(client, Arrival(Transport.TCP, "lan0", endpoint(client.getpeername()), server))

    async def until(self, event: str, count: int = 1) -> dict[str, Any]:
        """The line of the log when the event has been written so many times."""
        async with asyncio.timeout(SECONDS):
            while self.log.events().count(event) < count:
                self.log.written.clear()
                await self.log.written.wait()
        return self.log.last(event)


def descriptors() -> int:
    """How many this process has, without those that an earlier test has left to the collector."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def serve(host: str) -> tuple[socket.socket, Endpoint]:
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setblocking(False)
    return listener, endpoint(listener.getsockname())


async def dial(source: str, target: Endpoint, port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if target.host.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if port:  # which ours may have as well, since all hosts of a test may be this one
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((source, port))
    try:
        await asyncio.get_running_loop().sock_connect(sock, (str(target.host), target.port))
    except OSError:
        sock.close()
        raise
    return sock


async def accept(listener: socket.socket) -> tuple[socket.socket, Endpoint]:
    sock, address = await asyncio.get_running_loop().sock_accept(listener)
    return sock, endpoint(address)


async def receive(sock: socket.socket, size: int = 65536) -> bytes:
    async with asyncio.timeout(SECONDS):
        return await asyncio.get_running_loop().sock_recv(sock, size)


async def say(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def read_to_end(sock: socket.socket) -> bytes:
    received = b""
    while data := await receive(sock, 1 << 20):
        received += data
    return received
