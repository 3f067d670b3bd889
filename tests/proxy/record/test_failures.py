"""A bug of ours in a callback of the loop, wherever it is: its session ends with its sockets, and no other one does."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Side, Transport
from protocols.contract.effects import Effect, Send, Splice
from protocols.contract.pinholes import Expect, Grant, Media, MediaGrant, Party
from proxy.movers import lanes, splice
from proxy.pinholes import components, connections, datagrams, media, paths, table
from proxy.record import failures
from proxy.sessions import driver, leg, stream
from proxy.sessions.flow import Flow
from proxy.sessions.session import Session
from proxy.sockets import doors, packet_info, streams, transparent
from tests.harness.shell import PassOn, Shell, accept, dial, receive, say, serve
from tests.harness.waiting import attempts
from tests.proxy.conftest import CLIENT, OURS, SERVER, STRANGER
from tests.proxy.sessions.test_stream import Call

pytestmark = pytest.mark.usefixtures("network", "nothing_leaks")


class Bug(Exception):
    pass


class Failing:
    """The loop's handler, as the daemon has it; `count` says how often something was reported."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.happened = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(self._handle)

    def _handle(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context["exception"]
        self.errors.append(error)
        failures.let_go(error)
        self.happened.set()

    async def once(self) -> None:
        async with asyncio.timeout(30):
            await self.happened.wait()
        assert [type(error) for error in self.errors] == [Bug]


def fails(self: object = None, *_: object, **__: object) -> Any:
    """In the place of a method, as one that has a bug."""
    raise Bug


async def is_reset(sock: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        while await receive(sock):
            pass


async def half_made(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """A session in whose beginning `where.name` has a bug: both sides are reset, and nothing is left."""
    failing, shell = Failing(), Shell()
    gate, gate_at = serve(SERVER)
    listener, server_at = serve(SERVER)
    client = await dial(CLIENT, gate_at)
    ours, _ = await accept(gate)
    monkeypatch.setattr(where, name, fails)
    shell.begin(ours, server_at)
    server, _ = await accept(listener)
    await failing.once()
    monkeypatch.undo()
    await is_reset(client)
    await is_reset(server)
    assert len(shell.sessions) == 0
    for sock in (gate, listener, client, server):
        sock.close()


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (transparent, "dial_result"),
        (streams, "tune_control"),
        (stream.StreamSession, "_stop_dialling"),
        (stream, "Leg"),
        (stream.StreamSession, "_open"),
        (Session, "_stop_engine"),  # of the way out itself, once it is needed
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bug_while_a_session_begins(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    if name == "_stop_engine":
        monkeypatch.setattr(streams, "tune_control", fails)
    await half_made(monkeypatch, where, name)


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (leg.Leg, "_receive"),
        (leg.Leg, "send"),
        (stream.StreamSession, "settle"),
        (stream.StreamSession, "send"),
        (driver.EngineDriver, "_arm"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("side", list(Side))
async def test_a_bug_while_it_serves_resets_both_sides_and_no_other_session(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, side: Side
) -> None:
    shell = Shell()
    bad, good = await Call.connect(shell), await Call.connect(shell)
    failing = Failing()
    monkeypatch.setattr(where, name, fails)
    await say(bad.client if side is Side.CLIENT else bad.server, b"anything")
    await failing.once()
    monkeypatch.undo()
    await is_reset(bad.client)
    await is_reset(bad.server)
    assert len(shell.sessions) == 1
    await say(good.client, b"still")
    assert await receive(good.server) == b"still"
    bad.close()
    good.close()


async def test_a_bug_when_a_full_leg_has_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    call = await Call.connect(Shell())
    failing = Failing()
    monkeypatch.setattr(leg.Leg, "_flush", fails)
    for _ in attempts(told="no buffer on the way is ever full"):
        with pytest.raises((TimeoutError, ConnectionResetError)):
            async with asyncio.timeout(1):
                while True:
                    await say(call.client, bytes(1 << 16))
        if call.shell.sessions.held.bytes or failing.errors:
            break
    await is_reset(call.server)
    await failing.once()
    assert len(call.shell.sessions) == 0
    call.close()


class Ticks(PassOn):
    """Wants to be called at once, and its clock is broken."""

    is_broken = False

    def deadline(self) -> float | None:
        if self.is_broken:
            raise Bug
        return 0.0

    def tick(self, now: float) -> list[Any]:
        type(self).is_broken = True
        return []


async def test_a_bug_at_an_engines_clock() -> None:
    Ticks.is_broken = False
    failing = Failing()
    call = await Call.connect(Shell(Ticks))
    await failing.once()
    await is_reset(call.client)
    await is_reset(call.server)
    assert len(call.shell.sessions) == 0
    call.close()


class Splices(PassOn):
    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        return [Send(side.other, data), Splice(60.0)]


@pytest.mark.parametrize("name", ["_pour", "_move", "_look_behind"])
async def test_a_bug_in_a_relay(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    call = await Call.connect(Shell(Splices))
    await say(call.client, b"first")
    assert await receive(call.server) == b"first"
    failing = Failing()
    monkeypatch.setattr(splice.SpliceRelay, name, fails)
    await say(call.client, b"more")
    await failing.once()
    monkeypatch.undo()
    await is_reset(call.client)
    await is_reset(call.server)
    assert len(call.shell.sessions) == 0
    call.close()


class Opens(PassOn):
    """Opens a pinhole to the server for its client, when it hears something."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        target = packet_info.endpoint((SERVER, int(data)))
        allow = (ip_network(f"{CLIENT}/32"),)
        listen = packet_info.endpoint((SERVER, 0))
        expect = Expect(Transport.TCP, "data", "test", listen, allow, target, None, 60.0)
        grant = self.pinholes.open(expect)
        assert isinstance(grant, Grant)
        self.pinholes.confirm(grant)
        return [Send(side, str(grant.listen.port).encode())]


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (connections.Pinhole, "allows"),
        (connections.Pinhole, "use"),
        (connections._Dial, "begin"),
        (connections._Dial, "start"),
        (connections._Dial, "_settled"),
        (connections.Pinhole, "connected"),
        (splice.SpliceRelay, "start"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bug_at_a_pinhole_resets_who_came_and_closes_it(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    call = await Call.connect(Shell(Opens))
    listener, target = serve(SERVER)
    await say(call.client, str(target.port).encode())
    port = int(await receive(call.client))
    failing = Failing()
    monkeypatch.setattr(where, name, fails)
    with pytest.raises(ConnectionResetError):  # at once, or while it waits
        data = await dial(CLIENT, packet_info.endpoint((SERVER, port)))
        with data:
            await receive(data)
    await failing.once()
    monkeypatch.undo()
    assert len(call.shell.pinholes) == 0
    listener.close()
    call.close()


def brings(shell: Shell) -> Callable[[bytes], None]:
    """What brings a datagram of the client to the flows as the main listener does."""
    address = ip_address(STRANGER).packed
    ancillary = [
        (socket.SOL_IP, packet_info.IP_RECVORIGDSTADDR, b"\2\0" + (5060).to_bytes(2, "big") + address + bytes(8))
    ]

    def bring(data: bytes) -> None:
        shell.loop.call_soon(shell.flows.redirected, data, ancillary, (CLIENT, 5060))

    return bring


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (Flow, "_open"),
        (Flow, "receive"),
        (Flow, "send"),
        (Flow, "settle"),
        (Flow, "_wait"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bug_in_a_flow_takes_its_sockets_with_it(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    shell = Shell(snat=(ip_address(OURS),))
    bring, failing = brings(shell), Failing()
    monkeypatch.setattr(where, name, fails)
    bring(b"hello")
    await failing.once()
    monkeypatch.undo()
    assert [len(shell.sessions), len(shell.pinholes.endpoints)] == [0, 0]
    opened = shell.log.events().count("session.opened")
    bring(b"again")
    await shell.until("session.opened", opened + 1)


async def test_a_bug_when_a_flow_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flow, "_wait", lambda _: 0.01)
    monkeypatch.setattr(Flow, "_forget_before", fails)
    shell = Shell(snat=(ip_address(OURS),))
    failing = Failing()
    brings(shell)(b"hello")
    await failing.once()
    assert [len(shell.sessions), len(shell.pinholes.endpoints)] == [0, 0]


async def test_a_way_out_that_fails_too_keeps_nothing_from_being_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell()
    call = await Call.connect(shell)
    failing = Failing()
    for name in ("settle", "break_off", "dissolve", "close"):
        monkeypatch.setattr(stream.StreamSession, name, fails)
    await say(call.client, b"anything")
    await failing.once()
    monkeypatch.undo()
    await is_reset(call.client)
    await is_reset(call.server)
    assert len(shell.sessions) == 0
    call.close()


# -- what an engine asks for -------------------------------------------------------------------------------------------


def _at(host: str, port: int) -> Endpoint:
    return packet_info.endpoint((host, port))


def _media(host: str, port: int, mapped: str | None) -> Media:
    ours = None if mapped is None else ip_address(mapped)
    partner = (ip_network(f"{SERVER if host == CLIENT else CLIENT}/32"),)
    return Media("rtp", "INVITE", Party(_at(host, port), _at(host, port + 1), ours, partner), 60.0)


class Asks(PassOn):
    """Opens what it is told to open: media with an answer, or a pinhole for datagrams or connections."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if data == b"media":
            offered = self.pinholes.offer(_media(CLIENT, 7000, OURS))
            assert isinstance(offered, MediaGrant)
            answered = self.pinholes.answer(offered, _media(SERVER, 8000, None))
            assert isinstance(answered, MediaGrant)
            self.pinholes.change(answered, _media(SERVER, 8010, None))
        elif data != b"hello":
            where, transport = data.split()
            target, by = _at(CLIENT, 7010), Transport(transport.decode())
            listen = target if where == b"in_place" else _at(OURS, 0)
            allow = (ip_network(f"{SERVER}/32"),)
            self.pinholes.open(Expect(by, "data", "test", listen, allow, target, None, 60.0, confirmed=True))
        return []


@pytest.mark.parametrize("kind", [Bug, OSError])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(
    ("asked", "where", "name"),
    [
        *(("media", media.MediaPlace, name) for name in ("_lease", "_wait_at", "_granted", "_join", "_tell_opened")),
        *(("media", media.MediaPlace, name) for name in ("_wait", "_look_later")),
        ("media", table.PinholeTable, "answered"),
        *(("media", paths.MediaPath, name) for name in ("__init__", "_claim", "begin")),
        ("media", lanes.Lane, "start"),
        *(("media", components.Component, name) for name in ("__init__", "stands_for", "reopen")),
        ("media", transparent, "set_mark"),
        *((f"{at} udp", datagrams.DatagramPinhole, "_tell_opened") for at in ("mapped", "in_place")),
        *(
            (f"{at} tcp", connections.Pinhole, name)
            for at in ("mapped", "in_place")
            for name in ("_tell_opened", "confirm")
        ),
        *((f"{at} tcp", doors.Door, name) for at in ("mapped", "in_place") for name in ("mark", "enter", "open")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_fails_while_it_begins_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, asked: str, where: object, name: str, nth: int, kind: type[Exception]
) -> None:
    shell, counted, as_it_is = Shell(Asks, snat=(ip_address(OURS),)), 0, getattr(where, name)
    bring, failing = brings(shell), Failing()
    bring(b"hello")
    await shell.until("session.opened")

    def fails_once(*arguments: Any, **named: Any) -> Any:
        nonlocal counted
        counted += 1
        if counted == nth:
            raise kind(errno.EIO, "now")
        return as_it_is(*arguments, **named)

    monkeypatch.setattr(where, name, fails_once)
    bring(asked.encode())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    monkeypatch.undo()
    for session in shell.sessions:
        session.cut("test")
    table = shell.pinholes
    left = [len(shell.sessions), len(table), len(table.endpoints), shell.ports.in_use(), len(table._shares)]
    assert left == [0] * 5
    assert [len(table._shares_of_ports), table._offers._ports] == [0] * 2
    assert [len(table.stands), len(table.doors._standing)] == [0] * 2
    assert all(isinstance(error, OSError | Bug) for error in failing.errors)


def test_an_error_of_nobodys_is_nobodys() -> None:
    failures.let_go(OSError(errno.EIO, "from nowhere"))
    try:
        raise Bug
    except Bug as error:
        assert list(failures.at_work(error)) == []
