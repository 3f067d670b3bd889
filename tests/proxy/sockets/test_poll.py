"""The poll of connections: who is told of a socket, how often, and when no more."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator

import pytest

from proxy.sockets import streams
from proxy.sockets.poll import READ, WRITE, Poll


class Ends:
    """Two connected sockets, the first one watched, and what was told of it."""

    def __init__(self) -> None:
        self.poll = Poll(asyncio.get_running_loop())
        self.told: list[int] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.far = socket.create_connection(listener.getsockname())
            self.near = listener.accept()[0]
        self.near.setblocking(False)

    def tell(self, events: int) -> None:
        self.told.append(events)

    async def wait(self) -> None:
        """Until all that has happened has been told."""
        for _ in range(3):
            await asyncio.sleep(0.01)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    ends = Ends()
    yield ends
    ends.near.close()
    ends.far.close()
    ends.poll.close()


async def test_a_socket_is_told_of_again_until_it_is_read(ends: Ends) -> None:
    ends.poll.add(ends.near, READ, ends.tell)
    ends.far.send(b"x")
    await ends.wait()
    assert len(ends.told) > 1 and set(ends.told) == {READ}
    ends.near.recv(1)
    ends.told.clear()
    await ends.wait()
    assert not ends.told


async def test_a_reset_behind_data_is_told_once_the_data_is_read(ends: Ends) -> None:
    ends.poll.add(ends.near, READ, ends.tell)
    ends.far.send(b"x")
    streams.reset(ends.far)
    await ends.wait()
    assert ends.near.recv(1) == b"x"
    ends.told.clear()
    await ends.wait()
    assert ends.told and all(events & select.EPOLLERR for events in ends.told)


async def test_a_change_tells_what_is_so_already_and_only_that(ends: Ends) -> None:
    ends.poll.add(ends.near, READ, ends.tell)
    await ends.wait()
    assert not ends.told
    ends.poll.change(ends.near, WRITE, ends.tell)
    await ends.wait()
    assert set(ends.told) == {WRITE}


async def test_nobody_is_told_of_a_socket_that_is_forgotten(ends: Ends) -> None:
    ends.poll.add(ends.near, READ, ends.tell)
    ends.poll.forget(ends.near)
    ends.poll.forget(ends.near)
    ends.far.send(b"x")
    await ends.wait()
    assert not ends.told


async def test_a_descriptor_that_is_used_again_is_a_new_socket(ends: Ends) -> None:
    ends.poll.add(ends.near, READ, ends.tell)
    number = ends.near.fileno()
    fresh, other = socket.socketpair()
    ends.poll.closes(ends.near)
    ends.near.close()
    os.dup2(fresh.fileno(), number)
    fresh.close()
    ends.near = socket.socket(fileno=number)
    told: list[int] = []
    ends.poll.add(ends.near, READ, told.append)
    other.send(b"x")
    await ends.wait()
    ends.poll.forget(ends.near)
    other.close()
    assert told and not ends.told


async def test_one_that_closes_another_in_the_same_look_spares_it(ends: Ends) -> None:
    """Both have something to read; whoever is told first takes the other one with it."""
    near, far = socket.socketpair()
    told: list[str] = []

    def reads(sock: socket.socket, other: socket.socket) -> None:
        told.append("first" if sock is ends.near else "second")
        ends.poll.closes(other)
        other.close()
        sock.recv(9)

    ends.poll.add(ends.near, READ, lambda _: reads(ends.near, near))
    ends.poll.add(near, READ, lambda _: reads(near, ends.near))
    ends.far.send(b"x")
    far.send(b"x")
    await ends.wait()
    far.close()
    near.close()
    assert len(told) == 1


async def test_what_happened_to_one_is_not_told_of_another_that_has_its_number_since(ends: Ends) -> None:
    """Whoever is told first closes the other one and dials: the dial would be taken to stand."""
    near, far = socket.socketpair()
    fresh, other = socket.socketpair()
    told: list[int] = []

    def takes_the_place_of(closed: socket.socket) -> None:
        number = closed.fileno()
        for sock in (ends.near, near):
            ends.poll.forget(sock)
        os.dup2(fresh.fileno(), number)
        ends.poll.add(closed, READ, told.append)

    ends.poll.add(ends.near, READ, lambda _: takes_the_place_of(near))
    ends.poll.add(near, READ, lambda _: takes_the_place_of(ends.near))
    ends.far.send(b"x")
    far.send(b"x")
    await ends.wait()
    for sock in (near, ends.near):
        ends.poll.forget(sock)
    for sock in (near, far, fresh, other):
        sock.close()
    assert not told


async def test_a_bug_in_one_who_is_told_is_reported_and_the_others_are_told(ends: Ends) -> None:
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
    near, far = socket.socketpair()

    def fails(_: int) -> None:
        ends.near.recv(1)
        raise RuntimeError("a bug")

    told: list[int] = []
    ends.poll.add(ends.near, READ, fails)
    ends.poll.add(near, READ, told.append)
    ends.far.send(b"x")
    far.send(b"x")
    await ends.wait()
    for sock in (near, far):
        ends.poll.forget(sock)
        sock.close()
    assert reported == ["a bug"] and told


def test_what_a_listener_accepts_is_tuned_as_the_listener_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        streams.tune_control(listener)
        with socket.create_connection(listener.getsockname()):
            sock, _ = listener.accept()
    with sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == streams.KEEPALIVE_IDLE_SECONDS
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == streams.KEEPALIVE_INTERVAL_SECONDS
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == streams.KEEPALIVE_PROBES
