"""Spliced relays: everything arrives, in order, once; ends and resets are passed on; nothing is left open."""

import asyncio
import gc
import os
import select
import socket
import struct

import pytest

from proxy.movers import splice
from proxy.movers.pipes import Splicer
from proxy.movers.splice import SpliceRelay
from proxy.sockets import streams
from proxy.sockets.poll import Poll
from tests.harness.shell import SECONDS


def connected() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
    return ours, theirs


class Ends:
    """A relay between two connections; `peer` and `target` are the far ends of them."""

    def __init__(
        self,
        idle_seconds: float = 30,
        heads: tuple[bytes, bytes] = (b"", b""),
        carries_urgent: bool = False,
        is_begun: bool = True,
        half_closed_seconds: float | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        gc.collect()  # descriptors that an earlier test has left to the collector are none of this one's
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.peer, peer_leg = connected()
        self.target, target_leg = connected()
        self.legs = (peer_leg, target_leg)
        self.splicer = Splicer(Poll(self.loop))
        self.over: asyncio.Future[str] = self.loop.create_future()
        self.relay = SpliceRelay(
            self.loop,
            self.splicer,
            peer_leg,
            target_leg,
            idle_seconds,
            self.over.set_result,
            heads,
            carries_urgent,
            half_closed_seconds=half_closed_seconds,
        )
        if is_begun:
            self.relay.start()

    async def read_all(self, sock: socket.socket) -> bytes:
        received = bytearray()
        while data := await self.loop.sock_recv(sock, 1 << 20):
            received += data
        return bytes(received)

    def leaked(self) -> int:
        self.peer.close()
        self.target.close()
        self.splicer.drop_pipes()
        self.splicer.poll.close()
        return len(os.listdir("/proc/self/fd")) - self.descriptors


async def test_bytes_arrive_in_both_directions_and_ends_are_passed_on() -> None:
    ends = Ends()
    upward, downward = os.urandom(1_000_000) * 64, os.urandom(2_000_000)

    async def say(sock: socket.socket, data: bytes) -> None:
        await ends.loop.sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)

    *_, at_target, at_peer = await asyncio.gather(
        say(ends.peer, upward), say(ends.target, downward), ends.read_all(ends.target), ends.read_all(ends.peer)
    )
    assert (at_target, at_peer) == (upward, downward)
    assert await ends.over == "finished"
    assert (ends.relay.bytes_in, ends.relay.bytes_out) == (len(upward), len(downward))
    assert ends.leaked() == 0


async def test_one_direction_goes_on_after_the_other_has_ended() -> None:
    ends = Ends()
    ends.peer.shutdown(socket.SHUT_WR)
    assert await ends.read_all(ends.target) == b""
    await ends.loop.sock_sendall(ends.target, b"still here")
    assert await ends.loop.sock_recv(ends.peer, 100) == b"still here"
    assert not ends.over.done()
    ends.target.close()
    assert await ends.over == "finished"
    assert ends.leaked() == 0


@pytest.mark.parametrize(("who", "reason"), [("peer", "reset_by_peer"), ("target", "reset_by_target")])
async def test_a_reset_on_one_leg_becomes_a_reset_on_the_other(who: str, reason: str) -> None:
    ends = Ends()
    streams.reset(getattr(ends, who))
    assert await ends.over == reason
    with pytest.raises(ConnectionResetError):
        await ends.read_all(ends.target if who == "peer" else ends.peer)
    assert ends.leaked() == 0


async def test_a_sink_that_does_not_read_stops_the_source() -> None:
    ends = Ends()
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            while True:
                await ends.loop.sock_sendall(ends.peer, bytes(1 << 20))
                sent += 1 << 20
    assert sent < 64 << 20
    ends.relay.abort("enough")
    assert await ends.over == "enough"
    assert ends.leaked() == 0


async def test_what_an_engine_left_behind_goes_first() -> None:
    ends = Ends(heads=(b"to target ", b"to peer "))
    await ends.loop.sock_sendall(ends.peer, b"more")
    ends.peer.shutdown(socket.SHUT_WR)
    await ends.loop.sock_sendall(ends.target, b"more")
    ends.target.shutdown(socket.SHUT_WR)
    assert await ends.read_all(ends.target) == b"to target more"
    assert await ends.read_all(ends.peer) == b"to peer more"
    assert await ends.over == "finished"
    assert ends.leaked() == 0


async def test_silence_in_both_directions_ends_a_relay() -> None:
    ends = Ends(idle_seconds=0.05)
    assert await ends.over == "idle"
    with pytest.raises(ConnectionResetError):
        await ends.read_all(ends.peer)
    assert ends.leaked() == 0


async def test_quiet_relays_hold_no_pipe() -> None:
    ends = Ends()
    await ends.loop.sock_sendall(ends.peer, b"x")
    assert await ends.loop.sock_recv(ends.target, 10) == b"x"
    with_pooled_pipe = len(os.listdir("/proc/self/fd"))
    ends.splicer.drop_pipes()
    assert len(os.listdir("/proc/self/fd")) == with_pooled_pipe - 2
    ends.relay.abort("done")
    assert ends.leaked() == 0


async def test_no_descriptor_for_a_pipe_ends_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(_: Splicer) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Splicer, "take_pipe", take)
    ends = Ends()
    assert await ends.over == "no_descriptors"
    assert ends.leaked() == 0


async def test_a_daemon_that_is_killed_resets_both_ends() -> None:
    """What the kernel does with the sockets of a dead process: so half a file never looks like a whole one (F56)."""
    ends = Ends()
    await ends.loop.sock_sendall(ends.peer, b"half")
    assert await ends.loop.sock_recv(ends.target, 10) == b"half"
    linger = [leg.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) for leg in ends.legs]
    assert linger == [struct.pack("ii", 1, 0)] * 2
    ends.relay.abort("done")
    assert ends.leaked() == 0


async def test_a_relay_that_lasts_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "KEEP_ALIVE_AFTER_SECONDS", 0.01)
    ends = Ends()
    async with asyncio.timeout(SECONDS):
        # Nobody tells that a socket has another option than before.
        while not all(leg.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for leg in ends.legs):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not ends.over.done()
    ends.relay.abort("done")
    assert ends.leaked() == 0


async def test_urgent_data_stands_in_the_stream_and_hides_nothing_behind_it() -> None:
    """splice(2) stops before it, and takes it for the end when the end has come as well."""
    ends = Ends()
    before, behind = os.urandom(1000), os.urandom(2_000_000)

    async def say() -> None:
        await ends.loop.sock_sendall(ends.peer, before)
        ends.peer.send(b"!", socket.MSG_OOB)
        await ends.loop.sock_sendall(ends.peer, behind)
        ends.peer.shutdown(socket.SHUT_WR)

    async with asyncio.timeout(SECONDS):
        _, received = await asyncio.gather(say(), ends.read_all(ends.target))
    assert received == before + b"!" + behind
    ends.target.close()
    assert await ends.over == "finished"
    assert ends.leaked() == 0


@pytest.mark.parametrize(("who", "reason"), [("peer", "reset_by_peer"), ("target", "reset_by_target")])
async def test_a_reset_is_passed_on_while_the_other_end_does_not_read(who: str, reason: str) -> None:
    ends = Ends()
    source, sink = (ends.peer, ends.target) if who == "peer" else (ends.target, ends.peer)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):  # until every buffer on the way is full
            await ends.loop.sock_sendall(source, bytes(64_000_000))
    streams.reset(source)
    async with asyncio.timeout(SECONDS):
        assert await ends.over == reason
    sink.close()
    assert ends.leaked() == 0


async def test_a_relay_of_which_one_side_has_ended_does_not_wait_for_the_other_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splice, "HALF_CLOSED_SECONDS", 0.1)
    ends = Ends()
    ends.peer.shutdown(socket.SHUT_WR)
    assert await ends.read_all(ends.target) == b""
    async with asyncio.timeout(SECONDS):
        assert await ends.over == "half_closed"
    assert ends.leaked() == 0


async def test_where_one_side_ends_early_by_custom_the_other_may_be_silent_for_as_long_as_its_protocol_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splice, "HALF_CLOSED_SECONDS", 0.1)
    ends = Ends(half_closed_seconds=30)
    ends.peer.shutdown(socket.SHUT_WR)
    assert await ends.read_all(ends.target) == b""
    await asyncio.sleep(0.3)
    assert not ends.over.done()
    ends.target.close()
    assert await ends.over == "finished"
    assert ends.leaked() == 0


async def test_what_a_slow_reader_was_sent_before_the_end_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "HALF_CLOSED_SECONDS", 0.1)
    ends = Ends()
    # Less than the buffers on the way take, more than those of the reader alone.
    ends.target.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = os.urandom(1_000_000)
    async with asyncio.timeout(SECONDS):
        await ends.loop.sock_sendall(ends.peer, sent)
    ends.peer.shutdown(socket.SHUT_WR)
    await asyncio.sleep(0.5)
    assert not ends.over.done()
    ends.target.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # from here on it may hurry
    ends.target.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, 1 << 20)
    assert await ends.read_all(ends.target) == sent
    ends.target.close()
    assert await ends.over in ("finished", "half_closed")  # all has come, whichever of the two ends is seen first
    assert ends.leaked() == 0


async def up_to_mark(sock: socket.socket) -> bytes:
    """The stream up to where urgent data stands. Linux ends a read there; one that begins there passes it by."""
    data = b""
    with select.epoll() as poll:
        poll.register(sock, select.EPOLLIN | select.EPOLLPRI)
        while not streams.at_urgent_mark(sock):
            async with asyncio.timeout(SECONDS):
                await readable(poll)
            if poll.poll(0)[0][1] & select.EPOLLIN and not streams.at_urgent_mark(sock):
                more = sock.recv(1 << 16)
                assert more, f"the end behind {data[-20:]!r}"
                data += more
    return data


async def urgent(sock: socket.socket) -> bytes:
    """The byte at the mark; it may come later than the announcement of it."""
    with select.epoll() as poll:
        poll.register(sock, select.EPOLLPRI)
        async with asyncio.timeout(SECONDS):
            await readable(poll)
    return sock.recv(1, socket.MSG_OOB)


async def readable(poll: select.epoll) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    loop.add_reader(poll.fileno(), told.set)
    try:
        await told.wait()
    finally:
        loop.remove_reader(poll.fileno())


@pytest.mark.parametrize("by", ["peer", "target"])
async def test_carried_urgent_data_stays_what_it_is_and_where_it_is(by: str) -> None:
    ends = Ends(carries_urgent=True)
    source, sink = (ends.peer, ends.target) if by == "peer" else (ends.target, ends.peer)
    for number in range(10):
        await ends.loop.sock_sendall(source, b"before")
        source.send(bytes((number,)), socket.MSG_OOB)
        await ends.loop.sock_sendall(source, b"behind")
        assert await up_to_mark(sink) == b"before"
        assert await urgent(sink) == bytes((number,))
        assert await ends.loop.sock_recv(sink, 100) == b"behind"
    ends.relay.abort("done")
    assert ends.leaked() == 0


async def test_carried_urgent_data_waits_its_turn_when_the_sink_is_full() -> None:
    ends = Ends(carries_urgent=True)
    before, behind = os.urandom(8_000_000), os.urandom(8_000_000)

    async def say() -> None:
        await ends.loop.sock_sendall(ends.peer, before)
        ends.peer.send(b"!", socket.MSG_OOB)
        await ends.loop.sock_sendall(ends.peer, behind)
        ends.peer.shutdown(socket.SHUT_WR)

    async def hear() -> tuple[bytes, bytes, bytes]:
        return await up_to_mark(ends.target), await urgent(ends.target), await ends.read_all(ends.target)

    async with asyncio.timeout(SECONDS):
        _, heard = await asyncio.gather(say(), hear())
    assert heard == (before, b"!", behind)
    ends.target.close()
    assert await ends.over == "finished"
    assert ends.relay.bytes_in == len(before) + 1 + len(behind)
    assert ends.leaked() == 0


async def test_carried_urgent_data_is_not_taken_for_the_end_nor_hides_it() -> None:
    ends = Ends(carries_urgent=True)
    ends.peer.send(b"!", socket.MSG_OOB)
    ends.peer.shutdown(socket.SHUT_WR)
    assert await up_to_mark(ends.target) == b""
    assert await urgent(ends.target) == b"!"
    assert await ends.read_all(ends.target) == b""
    assert not ends.over.done()
    ends.target.close()
    assert await ends.over == "finished"
    assert ends.leaked() == 0


async def test_urgent_data_that_came_before_the_relay_began_is_carried() -> None:
    """A client sends it as soon as it has ACCEPT, with what an engine left behind still to go out."""
    ends = Ends(heads=(b"head", b""), carries_urgent=True, is_begun=False)
    ends.peer.send(b"!", socket.MSG_OOB)
    await ends.loop.sock_sendall(ends.peer, b"behind")
    ends.relay.start()
    assert await up_to_mark(ends.target) == b"head"
    assert await urgent(ends.target) == b"!"
    assert await ends.loop.sock_recv(ends.target, 100) == b"behind"
    ends.relay.abort("done")
    assert ends.leaked() == 0
