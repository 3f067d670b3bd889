"""The mover in the kernel: which lanes it takes, when it gives them back, and what it has counted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.movers import kernel
from proxy.movers.kernel import Kernel
from proxy.movers.lanes import Counts, Lane
from proxy.record.metrics import Metrics
from proxy.sockets.packet_info import Address
from tests.harness.lanes import Site, open_socket
from tests.harness.shell import SECONDS

LOOPBACK = socket.if_nametoindex("lo")


class Row:
    """A row that has passed so many packets of 100 bytes."""

    def __init__(self, rows: Rows, way: tuple[Address, Address, Address, Address, int]) -> None:
        self.rows = rows
        self.way = way
        self.packets = 0
        self.late = 0
        """Packets that were under way when the row was removed."""

    def counts(self) -> tuple[int, int]:
        return self.packets, self.packets * 100

    def take_back(self) -> tuple[int, int]:
        self.rows.standing.remove(self)
        self.packets += self.late
        return self.counts()


class Rows:
    """Tables with room for a few rows."""

    def __init__(self, capacity: int = 4) -> None:
        self.capacity = capacity
        self.standing: list[Row] = []
        self.asked = self.kept = 0
        self.error: OSError | None = None
        self.is_open = True

    def put(self, source: Address, at: Address, out: Address, to: Address, interface: int) -> Row | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if len(self.standing) == self.capacity:
            return None
        assert all(row.way[:2] != (source, at) for row in self.standing), "two rows of one key"
        row = Row(self, (source, at, out, to, interface))
        self.standing.append(row)
        return row

    def keep(self) -> None:
        self.kept += 1

    def close(self) -> None:
        assert not self.standing
        self.is_open = False


class World(Site):
    """A site whose lane the kernel may take, which comes by loopback."""

    def __init__(self) -> None:
        self.metrics, self.leased = Metrics(), set[Address]()
        self.full: list[int] = []
        self.kernel = Kernel(asyncio.get_running_loop(), self.leased, self.metrics)
        self.kernel.tell_full = self.full.append
        super().__init__((self.kernel,))
        self.kernel.offer_again = self.movers.offer_again
        self.stand.gives_way = self.kernel.give_way
        self.rows = Rows()
        self.kernel.use(self.rows)
        self.kernel.attach(LOOPBACK)

    @property
    def row(self) -> Row:
        (row,) = self.rows.standing
        return row

    def promoted(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("pinhole_media_promotions_total", {"result": result})

    def demoted(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("pinhole_media_demotions_total", {"reason": reason})


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.lane.stop()
    world.kernel.leave()
    world.close()


async def test_a_settled_lane_gets_a_row_with_all_its_parts_and_its_interface(world: World) -> None:
    await world.settle()
    assert world.row.way == (
        world.sender.getsockname(), world.at.address, world.out.address, world.receiver.getsockname(), LOOPBACK,
    )  # fmt: skip
    assert (len(world.kernel), world.promoted("kernel")) == (1, 1)


async def test_what_the_row_has_passed_counts_as_what_user_space_has(world: World) -> None:
    await world.settle()
    world.row.packets = 5
    assert world.lane.counts() == Counts(6, 502, 0, 5)


async def test_what_was_under_way_when_the_row_was_removed_counts_too(world: World) -> None:
    await world.settle()
    world.row.packets, world.row.late = 5, 2
    assert world.lane.end() == Counts(8, 702, 0, 7)
    assert (world.rows.standing, len(world.kernel), world.demoted("lane")) == ([], 0, 1)


async def test_without_a_program_nothing_is_offered_and_nothing_counted(world: World) -> None:
    world.kernel.leave()
    await world.settle()
    assert (world.rows.asked, world.rows.is_open) == (0, False)
    assert sum(world.promoted(result) or 0 for result in ("kernel", "no_holder", "no_interface")) == 0


async def test_a_lane_by_an_interface_without_the_program_waits_until_it_is_attached(world: World) -> None:
    world.kernel.detach(LOOPBACK)
    await world.settle()
    assert (world.rows.asked, world.promoted("no_interface")) == (0, 1)
    world.kernel.attach(LOOPBACK)
    await world.send(b"one")
    assert len(world.rows.standing) == 1


async def test_the_rows_of_an_interface_that_is_gone_go_with_it(world: World) -> None:
    await world.settle()
    world.row.packets = 5
    world.kernel.detach(LOOPBACK)
    assert (world.rows.standing, world.demoted("no_interface")) == ([], 1)
    await world.send(b"one")
    assert world.lane.counts() == Counts(7, 505, 0, 5)


@pytest.mark.parametrize("end", ["to", "source"])
async def test_a_lane_from_or_to_a_place_of_ours_stays_in_user_space(world: World, end: str) -> None:
    world.leased.add((world.receiver if end == "to" else world.sender).getsockname())
    await world.settle()
    assert (world.rows.asked, world.promoted("place_of_ours")) == (0, 1)


async def test_a_lane_from_one_version_of_ip_to_the_other_stays_in_user_space(world: World) -> None:
    out, receiver = world.endpoint(version=6), open_socket(version=6)
    world.lane.start(world.sender.getsockname(), world.stand, out)
    world.lane.redirect(receiver.getsockname())
    world.lane.settle()
    await world.send(b"one")
    assert list(world.received(receiver)) == [b"one"]
    out.close()
    receiver.close()
    assert (world.rows.asked, world.promoted("two_versions")) == (0, 1)


@pytest.mark.parametrize("to", [("", 0), ("0.0.0.0", 9), ("127.0.0.1", 0)])
async def test_a_lane_that_leads_nowhere_stays_in_user_space(world: World, to: Address) -> None:
    world.lane.redirect(to)
    world.lane.settle()
    await world.send(b"one")
    assert (world.rows.asked, world.promoted("nowhere")) == (0, 1)


async def test_a_lane_whose_packets_are_marked_stays_in_user_space(world: World) -> None:
    world.out.is_marked = True
    await world.settle()
    assert (world.rows.asked, world.promoted("marked")) == (0, 1)


async def test_while_nobody_watches_the_program_nothing_new_is_taken_and_what_it_has_goes_on(world: World) -> None:
    await world.settle()
    world.kernel.hold_on()
    assert len(world.rows.standing) == 1
    world.lane.recall()
    await world.send(b"one")
    assert (world.rows.standing, world.promoted("no_holder")) == ([], 1)


async def test_new_tables_take_what_those_of_before_had(world: World) -> None:
    await world.settle()
    world.row.packets = 5
    before, world.rows = world.rows, Rows()
    world.kernel.use(world.rows)
    assert (before.standing, before.is_open, world.demoted("no_program")) == ([], False, 1)
    world.kernel.attach(LOOPBACK)
    await world.send(b"one")
    assert len(world.rows.standing) == 1
    assert world.lane.counts() == Counts(7, 505, 0, 5)


@pytest.mark.parametrize("error", [None, PermissionError(1, "not permitted")])
async def test_when_there_is_no_row_the_lane_waits_in_user_space_and_one_line_says_so(
    world: World, error: OSError | None
) -> None:
    world.rows.capacity, world.rows.error = 0, error
    await world.settle()
    await world.send(b"one")
    assert world.rows.asked == 1
    world.kernel.wake()
    for _ in range(2):
        await world.send(b"one")
        assert world.rows.asked == 2
    assert world.full == [0]
    world.rows.capacity, world.rows.error = 4, None
    await world.send(b"one")
    assert world.rows.standing == []
    world.kernel.wake()
    await world.send(b"one")
    assert len(world.rows.standing) == 1


async def test_rows_are_asked_for_again_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "REST_SECONDS", 0.01)
    world.rows.capacity = 0
    await world.settle()
    world.rows.capacity = 4
    async with asyncio.timeout(SECONDS):
        while not world.rows.standing:
            await world.send(b"one")


async def test_the_newer_of_two_lanes_takes_the_row_and_gives_it_back_by_the_older_one_s_next_packet(
    world: World,
) -> None:
    await world.settle()
    world.row.packets = 5
    elsewhere = open_socket()
    newer = Lane(world.movers, world, elsewhere.getsockname())
    newer.start(world.sender.getsockname(), world.stand, world.out)
    assert (world.rows.standing, world.demoted("newer_lane")) == ([], 1)
    newer.settle()
    await world.send(b"one")
    assert world.row.way[3] == elsewhere.getsockname()
    world.row.packets = 3
    assert newer.end() == Counts(4, 303, 0, 3)
    assert world.rows.standing == []
    await world.send(b"two")
    assert world.row.way[3] == world.receiver.getsockname()
    assert world.lane.counts() == Counts(7, 505, 0, 5)
    elsewhere.close()


async def test_rows_are_kept_from_time_to_time_and_only_while_there_are_any(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "KEEP_SECONDS", 0.005)
    await world.settle()
    assert world.rows.kept >= 1  # with the first row, which would else begin under a lease that is over
    async with asyncio.timeout(SECONDS):
        while world.rows.kept < 2:  # noqa: ASYNC110 - rows tell nobody that they are kept
            await asyncio.sleep(0.005)
    world.lane.stop()
    await asyncio.sleep(0.02)
    kept = world.rows.kept
    await asyncio.sleep(0.02)
    assert world.rows.kept == kept
