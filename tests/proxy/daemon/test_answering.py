"""The control socket at a reload: it moves with all else that the reload changes, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from proxy.config.schema import ControlSocket
from proxy.control import place
from proxy.daemon.answering import Answering
from proxy.errors import NetError, SocketError
from proxy.host.keeper import Keeper
from tests.harness.scarce import no_descriptors


class Kept:
    """Stands in for the process that makes the socket, and does what that does."""

    def __init__(self, *paths: Path) -> None:
        self.paths = list(paths)
        self.bound: list[Path] = []
        self.is_received = True

    def ask(self, wish: str) -> int | None:
        match wish:
            case "control":
                self.bound.append(self.paths.pop(0))
                sock = place.bind(str(self.bound[-1]))
                if self.is_received:
                    return sock.detach()
                sock.close()
            case "forget-control":
                place.remove(str(self.bound.pop(0)))
            case "take-back-control":
                place.remove(str(self.bound.pop()))
        return None


class World:
    def __init__(self, directory: Path, is_kept: bool) -> None:
        self.first, self.second = directory / "first.sock", directory / "second.sock"
        self.keeper = Kept(self.first, self.second)
        self.held: list[asyncio.Task[None]] = []
        self.answering = Answering(cast(Keeper, self.keeper) if is_kept else None, lambda: (), self.hold)

    def hold(self, work: Coroutine[Any, Any, None]) -> None:
        self.held.append(asyncio.get_running_loop().create_task(work))

    def moved(self) -> Any:
        return self.answering.changed(at(self.first), at(self.second))

    async def standing(self) -> list[str]:
        """The sockets that there are, once those that are to go have gone. Each of them answers."""
        await asyncio.gather(*self.held)
        found = [path for path in (self.first, self.second) if path.exists()]
        for path in found:
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.close()
        return [path.stem for path in found]


def at(path: Path) -> ControlSocket:
    return ControlSocket(path=str(path))


@pytest_asyncio.fixture(params=[False, True], ids=["alone", "kept"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, request.param)
    await world.answering.start(at(world.first))
    yield world
    await world.answering.stop()
    assert await world.standing() == []


async def test_it_moves_when_all_else_is_done(world: World) -> None:
    async with world.moved():
        assert await world.standing() == ["first", "second"]
    assert await world.standing() == ["second"]


async def test_when_all_else_fails_it_stays_where_it_is(world: World) -> None:
    with pytest.raises(NetError, match="no rules"):
        async with world.moved():
            raise NetError("no rules")
    assert await world.standing() == ["first"]


async def test_where_it_cannot_move_to_nothing_else_is_done(world: World) -> None:
    world.second.write_text("a file")
    with pytest.raises(SocketError, match="a file that is no socket"):
        async with world.moved():
            pytest.fail("something else was done")
    world.second.unlink()
    world.keeper.bound = world.keeper.bound[:1]  # the real one notes only what it has made
    assert await world.standing() == ["first"]


async def test_a_socket_that_no_descriptor_is_left_for_is_not_had(world: World) -> None:
    world.keeper.is_received = False
    with no_descriptors(left=1 if world.answering._keeper else 0), pytest.raises(SocketError, match="Too many open"):
        async with world.moved():
            pytest.fail("something else was done")
    assert await world.standing() == ["first"]
