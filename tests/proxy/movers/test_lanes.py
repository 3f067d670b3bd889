"""Lanes: user space carries each from its start on; another mover may carry it while nothing is to be learned of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.movers import lanes
from proxy.movers.lanes import Counts, Lane, Movers
from proxy.movers.userspace import UserSpace
from proxy.sockets.packet_info import Address
from tests.harness.lanes import Site, open_socket


class Rows:
    """A mover that is handed lanes, and carries what `carry` says."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.asked = 0
        """How often a lane was offered."""
        self.after = 0
        """How many packets had passed user space when it last was."""
        self.carried: list[tuple[Address, Address]] = []
        """From where to where packets pass without user space, now."""
        self._packets = 0

    def start(self, lane: Lane) -> Rows | None:
        self.asked += 1
        self.after = lane.counts().packets
        if not self.takes:
            return None
        self._way, self._packets = (lane.source, lane.to), 0
        self.carried.append(self._way)
        return self

    def carry(self, packets: int) -> None:
        self._packets += packets

    @property
    def packets(self) -> int:
        return self._packets

    def counts(self) -> Counts:
        return Counts(self._packets, self._packets * 100, 0, self._packets)

    def stop(self) -> Counts:
        self.carried.remove(self._way)
        return self.counts()


@pytest_asyncio.fixture
async def rows() -> Rows:
    return Rows()


@pytest_asyncio.fixture
async def site(rows: Rows) -> AsyncIterator[Site]:
    site = Site((rows,))
    yield site
    site.close()


async def test_what_comes_to_the_one_socket_goes_out_by_the_other(site: Site) -> None:
    await site.send(b"one")
    data, source = site.receiver.recvfrom(2000)
    assert (data, source) == (b"one", site.out.address)
    assert site.lane.counts() == Counts(1, 3, 0)


async def test_a_lane_that_is_watched_is_user_space_s_alone(site: Site, rows: Rows) -> None:
    await site.send(b"one")
    assert site.seen == [b"one"]
    assert rows.carried == []


async def test_a_settled_lane_is_handed_over_after_its_next_packet_and_nobody_looks_at_its_packets(
    site: Site, rows: Rows
) -> None:
    site.lane.settle()
    assert rows.carried == []
    await site.send(b"one")
    assert list(site.received()) == [b"one"]
    assert rows.carried == [(site.sender.getsockname(), site.receiver.getsockname())]
    assert site.seen == []


async def test_a_lane_is_handed_over_by_the_last_packet_that_waits_in_its_socket(site: Site, rows: Rows) -> None:
    """What the other mover carries would overtake the others."""
    site.lane.settle()
    for data in (b"one", b"two"):
        site.sender.sendto(data, site.at.address)
    await site.send(b"three")
    assert (rows.asked, rows.after) == (1, 3)
    assert list(site.received()) == [b"one", b"two", b"three"]


async def test_a_lane_whose_socket_is_never_empty_is_handed_over_all_the_same(
    site: Site, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User space has more to do than it can, so whatever another mover takes is a relief."""
    monkeypatch.setattr(lanes, "MOST_PUT_OFF", 3)
    for turn in (1, 2):
        rows.takes = turn == 2
        site.lane.settle()
        for _ in range(5):
            site.sender.sendto(b"one", site.at.address)
        await site.send(b"one")
        assert (rows.asked, rows.after) == (turn, {1: 3, 2: 10}[turn])
        site.movers.offer_again()


async def test_what_another_mover_lets_through_passes_all_the_same(site: Site, rows: Rows) -> None:
    """A fragment, a packet longer than the link allows, or one after a mover has died."""
    await site.settle()
    rows.carry(5)
    await site.send(b"one")
    assert list(site.received()) == [b"one"]
    assert site.lane.counts() == Counts(7, 505, 0, 5)
    assert rows.asked == 1


async def test_a_lane_that_a_mover_refuses_stays_in_user_space(site: Site, rows: Rows) -> None:
    rows.takes = False
    site.lane.settle()
    for data in (b"one", b"two"):
        await site.send(data)
    assert list(site.received()) == [b"one", b"two"]
    assert rows.asked == 1


async def test_a_lane_that_was_refused_is_offered_again_when_the_mover_says_so(site: Site, rows: Rows) -> None:
    rows.takes = False
    await site.settle()
    rows.takes = True
    site.movers.offer_again()
    await site.send(b"one")
    assert len(rows.carried) == 1


async def test_a_lane_that_may_not_leave_user_space_is_offered_to_nobody(site: Site, rows: Rows) -> None:
    site.lane.may_leave = False
    await site.settle()
    assert rows.asked == 0


async def test_a_lane_whose_packets_come_by_another_interface_is_offered_anew(site: Site, rows: Rows) -> None:
    await site.settle()
    rows.carry(5)
    site.lane.comes_by(7)
    assert rows.carried == []
    await site.send(b"one")
    assert len(rows.carried) == 1
    assert rows.asked == 2


async def test_a_mover_that_refuses_leaves_the_lane_to_the_next_one() -> None:
    first, second = Rows(takes=False), Rows()
    site = Site((first, second))
    await site.settle()
    assert len(second.carried) == 1
    site.close()


async def test_a_lane_that_is_recalled_keeps_what_was_counted(site: Site, rows: Rows) -> None:
    await site.settle()
    rows.carry(5)
    site.lane.recall()
    assert rows.carried == []
    assert site.lane.counts() == Counts(6, 502, 0, 5)
    assert site.lane.unseen == 5


async def test_a_settled_lane_with_another_receiver_is_handed_over_again(site: Site, rows: Rows) -> None:
    elsewhere = open_socket()
    await site.settle()
    rows.carry(5)
    site.lane.redirect(elsewhere.getsockname())
    assert rows.carried == []
    await site.send(b"one")
    assert rows.carried == [(site.sender.getsockname(), elsewhere.getsockname())]
    assert list(site.received(elsewhere)) == [b"one"]
    assert site.lane.counts() == Counts(7, 505, 0, 5)
    elsewhere.close()


async def test_a_settled_lane_with_another_sender_is_handed_over_again(site: Site, rows: Rows) -> None:
    elsewhere = open_socket()
    await site.settle()
    site.lane.start(elsewhere.getsockname(), site.stand, site.out)
    assert rows.carried == []
    await site.send(b"one", elsewhere)
    assert rows.carried == [(elsewhere.getsockname(), site.receiver.getsockname())]
    await site.send(b"two")
    assert list(site.received()) == [b"one"]
    assert site.strangers == [site.sender.getsockname()]
    elsewhere.close()


async def test_nothing_of_a_lane_that_has_ended_is_carried(site: Site, rows: Rows) -> None:
    site.lane.settle()
    await site.send(b"one")
    rows.carry(5)
    assert site.lane.end() == Counts(6, 503, 0, 5)
    await site.send(b"two")
    site.lane.take(b"three", ())
    assert list(site.received()) == [b"one"]
    assert rows.carried == []


async def test_a_lane_whose_sender_no_socket_hears_is_handed_to_nobody(site: Site, rows: Rows) -> None:
    site.lane.start(site.sender.getsockname(), None, site.out)
    site.lane.settle()
    await site.send(b"one")
    assert list(site.received()) == []
    assert rows.carried == []


async def test_what_comes_by_the_wrong_interface_is_not_passed_on_and_not_counted(site: Site) -> None:
    site.is_admitted = False
    await site.send(b"one")
    assert list(site.received()) == []
    assert site.lane.counts() == Counts()


async def test_the_newer_of_two_lanes_of_one_sender_takes_its_packets_and_gives_them_back(site: Site) -> None:
    """Whoever did not hang up, and calls again from the same port."""
    elsewhere = open_socket()
    newer = Lane(Movers(UserSpace({})), site, elsewhere.getsockname())
    newer.start(site.sender.getsockname(), site.stand, site.out)
    await site.send(b"one")
    newer.end()
    await site.send(b"two")
    assert list(site.received(elsewhere)) == [b"one"]
    assert list(site.received()) == [b"two"]
    elsewhere.close()


async def test_a_lane_whose_sender_a_newer_one_has_is_offered_to_nobody(site: Site, rows: Rows) -> None:
    """A packet of it may still have waited for a decision."""
    newer = Lane(Movers(UserSpace({})), site, site.receiver.getsockname())
    site.lane.settle()
    newer.start(site.sender.getsockname(), site.stand, site.out)
    site.lane.take(b"late", ())
    assert rows.asked == 0
    newer.end()
