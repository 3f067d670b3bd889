"""A TCP session: dial first, bytes in, effects out, and every way it can end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, NoReturn

import pytest

from protocols.contract.addresses import Endpoint, Side, Transport, only
from protocols.contract.effects import Abort, Close, Effect, Note, Send, Splice
from protocols.contract.pinholes import Expect, Reader, Refusal, Used
from proxy.config.schema import Limits, Timeouts
from proxy.sessions.leg import RECEIVE_BYTES
from proxy.sockets import streams
from proxy.sockets.reserved import is_reserved
from tests.harness.shell import PassOn, Shell, accept, dial, read_to_end, receive, say, serve
from tests.harness.waiting import attempts
from tests.proxy.conftest import CLIENT, CLIENT6, OURS, SERVER, SERVER6, may_not_bind_reserved_ports

pytestmark = pytest.mark.usefixtures("network", "nothing_leaks")


class Call:
    """A client and a server with a session between them."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.client: socket.socket
        self.server: socket.socket
        self.client_as_seen: Endpoint

    @classmethod
    async def connect(
        cls, shell: Shell, client_host: str = CLIENT, server_host: str = SERVER, client_port: int = 0
    ) -> Call:
        call = cls(shell)
        gate, gate_at = serve(server_host)
        listener, server_at = serve(server_host)
        call.client = await dial(client_host, gate_at, client_port)
        leg, _ = await accept(gate)
        shell.begin(leg, server_at)
        call.server, call.client_as_seen = await accept(listener)
        gate.close()
        listener.close()
        async with asyncio.timeout(30):
            await shell.has_begun.wait()
        return call

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
async def test_bytes_pass_both_ways_and_the_ends_after_them(client: str, server: str) -> None:
    call = await Call.connect(Shell(), client, server)
    await say(call.client, b"hello")
    assert await receive(call.server) == b"hello"
    await say(call.server, b"welcome")
    assert await receive(call.client) == b"welcome"
    call.client.shutdown(socket.SHUT_WR)
    assert await receive(call.server) == b""
    await say(call.server, b"last")
    call.server.shutdown(socket.SHUT_WR)
    assert await read_to_end(call.client) == b"last"
    closed = await call.shell.until("session.closed")
    assert (closed["reason"], closed["bytes_from_client"], closed["bytes_from_server"]) == ("finished", 5, 11)
    assert len(call.shell.sessions) == 0
    call.close()


async def test_without_source_nat_the_server_sees_the_client() -> None:
    call = await Call.connect(Shell())
    assert str(call.client_as_seen.host) == CLIENT
    call.close()


RESERVED = {"reserved_source": True}


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
async def test_a_server_that_trusts_reserved_ports_is_dialled_from_another_one_of_the_client(
    client: str, server: str
) -> None:
    """RS13: from the same one, both connections would look the same to connection tracking."""
    call = await Call.connect(Shell(traits=RESERVED), client, server, client_port=1022)
    seen = call.client_as_seen
    assert seen.host == ip_address(client) and is_reserved(seen.port) and seen.port != 1022
    call.close()


@pytest.mark.parametrize("snat", [(ip_address(OURS),), "interface"])
async def test_with_source_nat_it_is_dialled_from_a_reserved_port_of_ours(snat: object) -> None:
    shell = Shell(traits=RESERVED, snat=snat)
    first = await Call.connect(shell, client_port=1022)
    assert first.client_as_seen.port == 1022
    ours = str(first.client_as_seen.host)
    with socket.create_server((ours, 1021)):  # a service of this host has that port
        second = await Call.connect(shell, client_port=1021)
    assert is_reserved(second.client_as_seen.port) and second.client_as_seen.port != 1021
    first.close()
    second.close()


async def test_a_client_without_a_reserved_port_gains_none() -> None:
    """Else whoever is on the client's host would be root on the server's."""
    call = await Call.connect(Shell(traits=RESERVED))
    assert call.client_as_seen.port >= 1024
    call.close()


async def test_without_the_right_to_bind_a_reserved_port_the_session_fails_and_says_so() -> None:
    shell = Shell(traits=RESERVED)
    gate, gate_at = serve(SERVER)
    client = await dial(CLIENT, gate_at, 1022)
    leg, _ = await accept(gate)
    with may_not_bind_reserved_ports():
        shell.begin(leg, gate_at)
    assert shell.log.last("session.failed")["reason"] == "server_not_permitted"
    gate.close()
    client.close()


async def test_source_nat_shows_the_server_another_address() -> None:
    call = await Call.connect(Shell(snat=(ip_address(OURS),)))
    assert str(call.client_as_seen.host) == OURS
    assert call.shell.engines[0].peers.is_mapped(Side.CLIENT)
    assert call.shell.log.last("session.opened")["snat"] == str(call.client_as_seen)
    call.close()


async def refused(shell: Shell, target: Endpoint) -> None:
    """The client of a session to `target` is reset."""
    gate, gate_at = serve(SERVER)
    client = await dial(CLIENT, gate_at)
    leg, _ = await accept(gate)
    shell.begin(leg, target)
    with pytest.raises(ConnectionResetError):
        await receive(client)
    gate.close()
    client.close()


async def test_a_server_that_refuses_becomes_a_reset_for_the_client() -> None:
    shell = Shell()
    await refused(shell, Endpoint(ip_address(SERVER), 9))
    assert shell.log.last("session.failed")["reason"] == "server_refused"
    assert len(shell.sessions) == 0


async def test_a_server_that_cannot_be_reached_becomes_a_reset_for_the_client() -> None:
    shell = Shell()
    await refused(shell, Endpoint(ip_address("203.0.113.1"), 9))
    assert shell.log.last("session.failed")["reason"] == "server_unreachable"


async def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    full, target = serve(SERVER)
    full.listen(0)
    fill = [await dial(CLIENT, target)]
    shell = Shell(timeouts=Timeouts(connect=0.1))
    await refused(shell, target)
    assert shell.log.last("session.failed")["reason"] == "server_timeout"
    for sock in (full, *fill):
        sock.close()


@pytest.mark.parametrize("side", list(Side))
async def test_a_reset_by_one_side_reaches_the_other_as_a_reset(side: Side) -> None:
    call = await Call.connect(Shell())
    one, other = (call.client, call.server) if side is Side.CLIENT else (call.server, call.client)
    streams.reset(one)
    with pytest.raises(ConnectionResetError):
        await receive(other)
    assert (await call.shell.until("session.closed"))["reason"] == f"reset_by_{side.value}"
    other.close()


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_reset_right_behind_the_last_bytes_is_seen_too(side: str) -> None:
    """The loop tells of an error on a socket once, whatever is read then."""
    call = await Call.connect(Shell())
    ours, other = (call.client, call.server) if side == "client" else (call.server, call.client)
    # Both come before the loop looks again.
    ours.send(b"last")
    streams.reset(ours)
    assert (await call.shell.until("session.closed"))["reason"] == f"reset_by_{side}"
    with pytest.raises(ConnectionResetError):
        await read_to_end(other)
    call.close()


async def test_a_side_that_does_not_read_stops_the_other() -> None:
    call = await Call.connect(Shell())
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            while True:
                await say(call.client, bytes(1 << 16))
                sent += 1 << 16
    assert sent < 32 << 20
    received = 0
    while received < sent:  # and goes on when it reads again
        received += len(await receive(call.server, 1 << 20))
    call.close()


class Refuses(PassOn):
    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        return [Send(Side.CLIENT, b"500 no\r\n"), Abort("refused_by_engine"), Send(Side.SERVER, b"never")]


async def test_sides_that_do_not_read_hold_no_more_than_their_budget_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is held for one who does not read, once others have used up what may be held for all."""
    monkeypatch.setattr("proxy.sessions.leg.MOST_HELD_BYTES", 1)
    call = await Call.connect(Shell())
    held = call.shell.sessions.held
    for _ in attempts(told="no buffer on the way is ever full"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    await say(call.client, bytes(1 << 16))
        if held.bytes:
            break
    assert 0 < held.bytes <= RECEIVE_BYTES
    while held.bytes:
        assert await receive(call.server)
    await say(call.server, b"on")
    assert await receive(call.client) == b"on"
    call.close()


class Concludes(PassOn):
    """Opens a pinhole for the client, and is over at the word `quit`."""

    answer = b"221 bye\r\n"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        server, client = self.peers.server, self.peers.client
        expect = Expect(
            Transport.TCP, "x-data", "X", Endpoint(server.host, 0), only(client.host), server, None, 60,
        )  # fmt: skip
        self.grant = self.pinholes.open(expect)

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        if data != b"quit":
            return super().receive(side, data, now)
        return [Send(Side.CLIENT, self.answer), Send(Side.SERVER, data), Close(), Send(Side.SERVER, b"never")]


class IsNeeded(Concludes):
    def is_needed(self) -> bool:
        return not self.heard


async def test_what_was_sent_before_a_close_is_delivered_and_then_both_streams_end() -> None:
    class Verbose(Concludes):
        answer = bytes(8_000_000)  # more than kernels hold

    call = await Call.connect(Shell(Verbose))
    await say(call.client, b"quit")
    closed = await call.shell.until("session.closed")
    assert (closed["reason"], closed["bytes_from_client"]) == ("finished", 4)
    assert await read_to_end(call.server) == b"quit"
    await say(call.client, b"what is said now goes unread, and resets nothing")
    assert await read_to_end(call.client) == Verbose.answer
    assert call.shell.sessions.held.bytes == 0
    call.close()


async def test_who_does_not_take_what_was_sent_before_a_close_is_reset_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    was_reset, reset = asyncio.Event(), streams.reset

    def told(sock: socket.socket) -> None:
        reset(sock)
        was_reset.set()

    monkeypatch.setattr(streams, "reset", told)

    class Verbose(Concludes):
        answer = bytes(8_000_000)

    call = await Call.connect(Shell(Verbose, timeouts=Timeouts(half_closed=0.05)))
    await say(call.client, b"quit")
    await call.shell.until("session.closed")
    await was_reset.wait()
    assert call.shell.sessions.held.bytes == 0
    with pytest.raises(ConnectionResetError):
        await read_to_end(call.client)
    call.close()


async def test_waiting_pinholes_go_with_a_session_that_its_engine_closes() -> None:
    call = await Call.connect(Shell(Concludes))
    await say(call.client, b"quit")
    await call.shell.until("session.closed")
    assert call.shell.log.last("pinhole.closed")["reason"] == "session_closed"
    assert len(call.shell.pinholes) == 0
    call.close()


async def test_they_stay_while_the_engine_is_needed() -> None:
    call = await Call.connect(Shell(IsNeeded))
    await say(call.client, b"quit")
    await call.shell.until("session.closed")
    (engine,) = call.shell.engines
    assert len(call.shell.pinholes) == 1
    with await dial(CLIENT, engine.grant.listen):
        await call.shell.until("pinhole.used")
    assert [type(event) for event in engine.heard] == [Used]
    call.close()


async def test_who_was_told_why_can_read_it_and_the_other_is_reset() -> None:
    call = await Call.connect(Shell(Refuses))
    await say(call.client, b"anything")
    assert await read_to_end(call.client) == b"500 no\r\n"
    with pytest.raises(ConnectionResetError):
        await receive(call.server)
    assert (await call.shell.until("session.closed"))["reason"] == "refused_by_engine"
    call.close()


class TellsAtTheEnd(PassOn):
    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        return [*super().eof(side, now), Note("test.ended", {"side": side})]


async def test_a_session_that_is_reset_still_tells_what_it_knows() -> None:
    call = await Call.connect(Shell(TellsAtTheEnd))
    streams.reset(call.client)
    await call.shell.until("session.closed")
    told = [line["side"] for line in call.shell.log.lines if line["event"] == "test.ended"]
    assert told == ["client", "server"]
    call.close()


class Fails(PassOn):
    def receive(self, side: Side, data: bytes, now: float) -> NoReturn:
        raise RuntimeError("a bug")


async def test_a_bug_in_an_engine_ends_its_session_and_no_other() -> None:
    good = await Call.connect(Shell())
    bad = await Call.connect(Shell(Fails))
    await say(bad.client, b"x")
    with pytest.raises(ConnectionResetError):
        await receive(bad.client)
    assert bad.shell.log.last("engine.failed")["traceback"][-1] == "RuntimeError: a bug"
    assert bad.shell.log.last("session.closed")["reason"] == "engine_failed"
    await say(good.client, b"still")
    assert await receive(good.server) == b"still"
    good.close()
    bad.close()


class GoesOpaque(PassOn):
    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        return [Send(Side.SERVER, b"[" + data), Send(Side.CLIENT, b"ok "), Splice(30)]


async def test_after_splice_the_rest_passes_without_the_engine() -> None:
    call = await Call.connect(Shell(GoesOpaque))
    await say(call.client, b"switch")
    assert await receive(call.server) == b"[switch"
    assert await receive(call.client) == b"ok "
    await say(call.client, b"x" * 100_000)
    call.client.shutdown(socket.SHUT_WR)
    assert await read_to_end(call.server) == b"x" * 100_000
    await say(call.server, b"bye")
    call.server.close()
    assert await read_to_end(call.client) == b"bye"
    closed = await call.shell.until("session.closed")
    assert (closed["reason"], closed["bytes_from_client"], closed["bytes_from_server"]) == ("finished", 100_006, 3)
    call.close()


class Expects(PassOn):
    """Lets anybody who comes to CLIENT's pinhole reach what the peer names, as a session of its own."""

    reader = Reader("test")

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        if not data.startswith(b"expect "):
            return super().receive(side, data, now)
        target = Endpoint(self.peers.server.host, int(data[7:]))
        expect = Expect(
            Transport.TCP, "tns", "REDIRECT", Endpoint(self.peers.server.host, 0), only(self.peers.client.host), target,
            None, 60, reader=self.reader,
        )  # fmt: skip
        answer = self.pinholes.open(expect)
        return [Send(side, (answer.reason if isinstance(answer, Refusal) else str(answer.listen.port)).encode())]


async def test_what_comes_to_a_pinhole_that_is_read_is_a_session_of_its_own() -> None:
    call = await Call.connect(Shell(Expects))
    listener, target = serve(SERVER)
    await say(call.client, b"expect %d" % target.port)
    port = int(await receive(call.client))
    again = await dial(CLIENT, Endpoint(target.host, port))
    server, as_seen = await accept(listener)
    assert str(as_seen.host) == CLIENT
    await say(again, b"connect")
    assert await receive(server) == b"connect"
    assert len(call.shell.sessions) == len(call.shell.engines) == 2
    opened = [line for line in call.shell.log.lines if line["event"] == "session.opened"]
    assert opened[1]["policy"] == opened[0]["policy"]
    # The log says by which session and pinhole it was let in; of the first one a policy alone decided.
    used = call.shell.log.last("pinhole.used")
    assert opened[1]["by"] == {"session": opened[0]["session"], "pinhole": used["pinhole"]}
    assert (opened[1]["parent"], opened[1]["via_pinhole"]) == (opened[0]["session"], used["pinhole"])
    assert opened[1]["interface"] == "lo"
    assert not {"by", "parent", "via_pinhole"} & opened[0].keys()
    closed = await call.shell.until("pinhole.closed")
    assert (closed["reason"], closed["bytes_in"], closed["sessions"]) == ("used_up", 0, 1)
    # It does not end with the session that expected it (T25).
    call.close()
    await call.shell.until("session.closed")
    await say(server, b"accept")
    assert await receive(again) == b"accept"
    for sock in (listener, again, server):
        sock.close()


async def test_whoever_a_pinhole_does_not_let_in_after_all_is_told_of_with_that_pinhole() -> None:
    call = await Call.connect(Shell(Expects, limits=Limits(sessions_per_client=1)))
    await say(call.client, b"expect 9")
    at = Endpoint(ip_address(SERVER), int(await receive(call.client)))
    with pytest.raises(ConnectionResetError), await dial(CLIENT, at) as again:  # as early as in connect(), or later
        await receive(again)
    denied = await call.shell.until("session.denied")
    (session,) = call.shell.sessions
    pinhole = call.shell.log.last("pinhole.opened")["pinhole"]
    assert (denied["reason"], denied["by"]) == ("limit_per_client", {"session": session.key, "pinhole": pinhole})
    call.close()


class ExpectsOther(Expects):
    reader = Reader("other", "what it is to be")


class Other(PassOn):
    """The engine of another helper."""


async def test_what_comes_may_be_read_by_an_engine_of_another_helper() -> None:
    call = await Call.connect(Shell(ExpectsOther, others={"other": Other}))
    listener, target = serve(SERVER)
    await say(call.client, b"expect %d" % target.port)
    again = await dial(CLIENT, Endpoint(target.host, int(await receive(call.client))))
    server, _ = await accept(listener)
    await say(again, b"connect")
    assert await receive(server) == b"connect"
    first, second = call.shell.engines
    assert (type(first), first.peers.role) == (ExpectsOther, None)
    assert (type(second), second.peers.role) == (Other, "what it is to be")
    assert call.shell.log.last("session.opened")["helper"] == "other"
    for sock in (listener, again, server):
        sock.close()
    call.close()


@pytest.mark.parametrize(
    ("others", "limits", "helpers", "reason"),
    [
        ({}, Limits(), (), "reader_no_helper"),
        ({"other": Other}, Limits(), ("test",), "reader_no_policy"),
        ({"other": Other}, Limits(sessions_per_client=1), (), "reader_limit_per_client"),
        ({"other": Other}, Limits(sessions=1), (), "reader_limit_total"),
    ],
)
async def test_a_pinhole_is_refused_when_no_session_of_its_reader_would_be_let_in(
    others: dict[str, type[PassOn]], limits: Limits, helpers: tuple[str, ...], reason: str
) -> None:
    call = await Call.connect(Shell(ExpectsOther, limits=limits, others=others, helpers=helpers))
    await say(call.client, b"expect 9")
    assert (await receive(call.client)).decode() == reason
    assert call.shell.log.last("pinhole.refused")["reason"] == reason
    call.close()


class Ticks(PassOn):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.due: float | None = arguments[3] + 0.02

    def deadline(self) -> float | None:
        return self.due

    def tick(self, now: float) -> Sequence[Effect]:
        assert self.due is not None and now >= self.due
        self.due = None
        return [Note("test.ticked", {}), Abort("too_long")]


async def test_an_engine_is_called_at_its_deadline() -> None:
    call = await Call.connect(Shell(Ticks))
    assert (await call.shell.until("session.closed"))["reason"] == "too_long"
    assert call.shell.log.events().count("test.ticked") == 1
    call.close()


async def test_a_session_half_closed_for_long_is_ended() -> None:
    call = await Call.connect(Shell(timeouts=Timeouts(half_closed=0.05)))
    call.client.shutdown(socket.SHUT_WR)
    assert (await call.shell.until("session.closed"))["reason"] == "half_closed"
    call.close()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(sessions=1), "limit_total"), (Limits(sessions_per_client=1), "limit_per_client")],
)
async def test_beyond_a_limit_a_session_is_reset(limits: Limits, reason: str) -> None:
    shell = Shell(limits=limits)
    call = await Call.connect(shell)
    await refused(shell, Endpoint(ip_address(SERVER), 9))
    assert shell.log.last("session.denied")["reason"] == reason
    streams.reset(call.client)
    await shell.until("session.closed")
    (await Call.connect(shell)).close()
    call.close()


async def test_a_denied_session_is_reset_and_logged_with_its_policy() -> None:
    shell = Shell(accept=False)
    await refused(shell, Endpoint(ip_address(SERVER), 9))
    denied = shell.log.last("session.denied")
    assert (denied["reason"], denied["policy"], denied["interface"]) == ("denied_by_policy", "all", "lan0")


async def test_draining_ends_quiet_sessions_at_once() -> None:
    call = await Call.connect(Shell())
    await call.shell.sessions.drain(30)
    assert call.shell.log.last("session.closed")["reason"] == "stopped"
    assert await receive(call.client) == b""
    call.close()


async def test_draining_waits_for_a_transfer_and_for_the_reply_that_ends_it() -> None:
    call = await Call.connect(Shell())
    waiting, target = serve(SERVER)
    grant = call.shell.engines[0].pinholes.open(
        Expect(
            Transport.TCP,
            "test-data",
            "TEST",
            Endpoint(ip_address(OURS), 0),
            only(ip_address(CLIENT)),
            target,
            Endpoint(ip_address(CLIENT), 0),
            idle_seconds=30,
        )
    )
    data = await dial(CLIENT, grant.listen)
    sending, _ = await accept(waiting)

    async def finish() -> None:
        await say(sending, b"the whole file")
        sending.close()
        assert await read_to_end(data) == b"the whole file"
        data.close()
        await say(call.server, b"226 done")
        assert await receive(call.client) == b"226 done"

    await asyncio.gather(call.shell.sessions.drain(10), finish())
    assert call.shell.log.last("session.closed")["reason"] == "stopped"
    waiting.close()
    call.close()


class Keeping(PassOn):
    """Looks after something of its own, which ends when it is told so, or when it is `due`. Until then its time moves
    away each time that it is looked at, so that it has not come yet however long a test takes to get there."""

    keeps = True
    due: float | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.own = self.pinholes.apart()

    def is_needed(self) -> bool:
        return self.keeps

    def stop(self, now: float) -> Sequence[Effect]:
        return [Note("test.stopped", {})] if self.keeps else []

    def deadline(self) -> float | None:
        return None if self.due is None else min(self.due, asyncio.get_running_loop().time() + 0.02)

    def tick(self, now: float) -> Sequence[Effect]:
        self.keeps, self.due = False, None
        return [Note("test.over", {}), Send(Side.CLIENT, b"nobody is there")]


def waiting(engine: Keeping) -> None:
    peers = engine.peers
    expect = Expect(
        Transport.TCP, "test", "test", listen=Endpoint(peers.server.host, 0), allow=only(peers.client.host),
        target=peers.server, source=Endpoint(peers.client.host, 0), idle_seconds=60,
    )  # fmt: skip
    engine.own.open(expect)


async def hang_up(call: Call) -> None:
    call.close()
    await call.shell.until("session.closed")
    assert len(call.shell.sessions) == 0


async def test_what_an_engine_looks_after_outlives_both_sides() -> None:
    call = await Call.connect(Shell(Keeping))
    (engine,) = call.shell.engines
    waiting(engine)
    engine.due = float("inf")
    await say(call.client, b"x")  # so that its deadline is looked at
    await receive(call.server)
    await hang_up(call)
    assert "pinhole.closed" not in call.shell.log.events()
    engine.due = 0.0
    await call.shell.until("pinhole.closed")
    assert call.shell.log.events()[-2:] == ["test.over", "pinhole.closed"]


async def test_what_ended_by_another_sessions_doing_is_let_go() -> None:
    call = await Call.connect(Shell(Keeping))
    (engine,) = call.shell.engines
    waiting(engine)
    engine.due = float("inf")
    await say(call.client, b"x")
    await receive(call.server)
    await hang_up(call)
    engine.keeps, engine.due = False, None
    await call.shell.until("pinhole.closed")
    assert "test.over" not in call.shell.log.events()


@pytest.mark.parametrize("end", [Close("over"), Abort("over"), Splice(60.0)], ids=lambda end: type(end).__name__)
async def test_an_engine_that_ends_its_session_when_that_is_over_ends_what_it_looks_after(end: Effect) -> None:
    class Ending(Keeping):
        def tick(self, now: float) -> Sequence[Effect]:
            return [*super().tick(now), end]

    call = await Call.connect(Shell(Ending))
    (engine,), loop = call.shell.engines, asyncio.get_running_loop()
    bugs: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: bugs.append(context))
    waiting(engine)
    engine.due = float("inf")
    await say(call.client, b"x")
    await receive(call.server)
    await hang_up(call)
    engine.due = 0.0
    await call.shell.until("pinhole.closed")
    assert not bugs
    assert call.shell.log.events().count("session.closed") == 1
    assert not call.shell.sessions.lingering


async def test_at_the_end_of_the_daemon_it_ends_as_well() -> None:
    call = await Call.connect(Shell(Keeping))
    waiting(call.shell.engines[0])
    await hang_up(call)
    await call.shell.sessions.drain(0)
    assert call.shell.log.events()[-2:] == ["pinhole.closed", "test.stopped"]


async def test_what_stands_apart_is_limited_as_a_session_of_its_own() -> None:
    call = await Call.connect(Shell(Keeping, limits=Limits(pinholes_per_session=1)))
    (engine,) = call.shell.engines
    waiting(engine)
    waiting(engine)
    assert call.shell.log.last("pinhole.refused")["reason"] == "limit_per_session"
    engine.own = engine.pinholes.apart()
    waiting(engine)
    assert len(call.shell.pinholes) == 2
    call.close()
