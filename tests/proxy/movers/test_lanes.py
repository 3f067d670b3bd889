"""Lanes: user space carries each from its start on; another mover may carry it while nothing is to be learned of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest_asyncio

from proxy.movers.lanes import Counts, Lane, Movers
from proxy.movers.stands import Stand
from proxy.movers.userspace import UserSpace
from proxy.sockets import packet_info
from proxy.sockets.endpoint import EVERYBODY, UdpEndpoint
from proxy.sockets.packet_info import Address
from proxy.sockets.readers import Readers


class Rows:
    """A mover that is handed lanes, and carries what `carry` says."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.carried: list[tuple[Address, Address]] = []
        """From where to where packets pass without user space, now."""
        self._packets = 0

    def start(self, lane: Lane) -> Rows | None:
        if not self.takes:
            return None
        self._way, self._packets = (lane.source, lane.to), 0
        self.carried.append(self._way)
        return self

    def carry(self, packets: int) -> None:
        self._packets += packets

    def counts(self) -> Counts:
        return Counts(self._packets, self._packets * 100)

    def stop(self) -> Counts:
        self.carried.remove(self._way)
        return self.counts()


class Site:
    """A sender, a receiver, and a lane between them with its two sockets."""

    def __init__(self, others: tuple[Rows, ...] = ()) -> None:
        readers = Readers(asyncio.get_running_loop())
        self.strangers: list[Address] = []
        self.seen: list[bytes] = []
        self.is_admitted = True
        self.sender, self.receiver = self._open(), self._open()
        self.at = self._endpoint(readers)
        self.out = self._endpoint(readers)
        self.stand = Stand(self.at, None)
        self.at.read()
        self.lane = Lane(Movers(UserSpace({}), others), self, self.receiver.getsockname())
        self.lane.start(self.sender.getsockname(), self.stand, self.out)

    def watch(self, data: bytes) -> None:
        self.seen.append(data)

    @staticmethod
    def _open() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        return sock

    def _endpoint(self, readers: Readers) -> UdpEndpoint:
        with self._open() as free:
            at = packet_info.endpoint(free.getsockname())
        return UdpEndpoint(
            readers, at, EVERYBODY, lambda _, data, anc, source: self.strangers.append(source), True, may_share=False
        )

    async def send(self, data: bytes, sender: socket.socket | None = None) -> None:
        (sender or self.sender).sendto(data, self.at.address)
        await asyncio.sleep(0.01)

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


async def test_a_settled_lane_is_handed_over_as_it_is_and_nobody_looks_at_its_packets(site: Site, rows: Rows) -> None:
    site.lane.settle()
    await site.send(b"one")
    assert rows.carried == [(site.sender.getsockname(), site.receiver.getsockname())]
    assert site.seen == []


async def test_what_another_mover_lets_through_passes_all_the_same(site: Site, rows: Rows) -> None:
    """A fragment, a packet longer than the link allows, or one after a mover has died."""
    site.lane.settle()
    rows.carry(5)
    await site.send(b"one")
    assert list(site.received()) == [b"one"]
    assert site.lane.counts() == Counts(6, 503, 0)


async def test_a_lane_that_a_mover_refuses_stays_in_user_space(site: Site, rows: Rows) -> None:
    rows.takes = False
    site.lane.settle()
    await site.send(b"one")
    assert list(site.received()) == [b"one"]


async def test_a_mover_that_refuses_leaves_the_lane_to_the_next_one() -> None:
    first, second = Rows(takes=False), Rows()
    site = Site((first, second))
    site.lane.settle()
    assert len(second.carried) == 1
    site.close()


async def test_a_lane_that_is_recalled_keeps_what_was_counted(site: Site, rows: Rows) -> None:
    site.lane.settle()
    rows.carry(5)
    site.lane.recall()
    assert rows.carried == []
    assert site.lane.counts() == Counts(5, 500, 0)
    assert site.lane.unseen == 5


async def test_a_settled_lane_with_another_receiver_is_handed_over_again(site: Site, rows: Rows) -> None:
    elsewhere = site._open()
    site.lane.settle()
    rows.carry(5)
    site.lane.redirect(elsewhere.getsockname())
    assert rows.carried == [(site.sender.getsockname(), elsewhere.getsockname())]
    await site.send(b"one")
    assert list(site.received(elsewhere)) == [b"one"]
    assert site.lane.counts() == Counts(6, 503, 0)
    elsewhere.close()


async def test_a_settled_lane_with_another_sender_is_handed_over_again(site: Site, rows: Rows) -> None:
    elsewhere = site._open()
    site.lane.settle()
    site.lane.start(elsewhere.getsockname(), site.stand, site.out)
    assert rows.carried == [(elsewhere.getsockname(), site.receiver.getsockname())]
    await site.send(b"one", elsewhere)
    await site.send(b"two")
    assert list(site.received()) == [b"one"]
    assert site.strangers == [site.sender.getsockname()]
    elsewhere.close()


async def test_nothing_of_a_lane_that_has_ended_is_carried(site: Site, rows: Rows) -> None:
    site.lane.settle()
    await site.send(b"one")
    rows.carry(5)
    assert site.lane.end() == Counts(6, 503, 0)
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
    elsewhere = site._open()
    newer = Lane(Movers(UserSpace({})), site, elsewhere.getsockname())
    newer.start(site.sender.getsockname(), site.stand, site.out)
    await site.send(b"one")
    newer.end()
    await site.send(b"two")
    assert list(site.received(elsewhere)) == [b"one"]
    assert list(site.received()) == [b"two"]
    elsewhere.close()
