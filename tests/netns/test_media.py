"""Media relays through a gateway in a namespace of its own: who sees whom, and what a change of the parties does."""

from __future__ import annotations

import gc
import weakref

import pytest

from protocols.contract.pinholes import Closed, MediaGrant, Refusal
from tests.harness.media import said
from tests.netns.datagrams import Gateway, hear, silence
from tests.netns.media_calls import Call, at, media, party, to
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]


# -- who sees whom -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
async def test_with_nat_the_offerer_is_seen_at_our_address_and_the_answerer_at_its_own(
    hosts: Hosts, version: int
) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(version, 7000), gateway.server(version, 8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(version)))
        answered = call.answer(offered, party(other))
        assert said(offered.data).host == hosts.gateway_address(version)
        assert said(offered.data).port % 2 == 0
        assert answered.data == at(other)
        phone.sendto(b"from the phone", to(answered))
        assert await hear(other) == (b"from the phone", to(offered))
        other.sendto(b"to the phone", to(offered))
        assert await hear(phone) == (b"to the phone", other.getsockname()[:2])
        call.pinholes.close(offered)


@pytest.mark.parametrize("version", [4, 6])
async def test_without_nat_both_are_seen_where_they_are(hosts: Hosts, version: int) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(version, 7000), gateway.server(version, 8000)
        offered = call.offer(party(phone))
        answered = call.answer(offered, party(other))
        assert (offered.data, answered.data) == (at(phone), at(other))
        phone.sendto(b"a", to(answered))
        assert await hear(other) == (b"a", phone.getsockname()[:2])
        other.sendto(b"b", to(offered))
        assert await hear(phone) == (b"b", other.getsockname()[:2])
        call.pinholes.close(offered)


@pytest.mark.fastpath("off")
async def test_what_was_lost_on_the_way_here_is_told_to_the_one_it_did_not_come_to(hosts: Hosts) -> None:
    def rtp(number: int) -> bytes:
        return b"\x80\x08" + number.to_bytes(2, "big") + bytes(4) + b"ssrc" + bytes(160)

    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        answered = call.answer(offered, party(other))
        sent = [number for number in range(700) if number % 100 != 50]
        for number in sent:
            phone.sendto(rtp(number), to(answered))
            assert (await hear(other))[0] == rtp(number)
        other.sendto(b"\x80", to(offered))  # a keep-alive
        await hear(phone)
        call.pinholes.close(offered)
        heard = [event.heard for event in call.events if isinstance(event, Closed)]
        assert [one and (one.packets, one.lost) for one in heard] == [(len(sent), 7), None]


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("ending", ["offerer", "answerer"])
async def test_packets_that_had_come_before_the_end_are_passed_on(hosts: Hosts, mapped: bool, ending: str) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4) if mapped else None))
        answered = call.answer(offered, party(other))
        phone.sendto(b"last of the phone", to(answered))
        other.sendto(b"last of the other", to(offered))
        call.pinholes.close(offered if ending == "offerer" else answered)
        assert (await hear(phone))[0] == b"last of the other"
        assert (await hear(other))[0] == b"last of the phone"
        closed = next(event for event in call.events if isinstance(event, Closed))
        assert (closed.packets_in, closed.packets_out) == (1, 1)
        call.pinholes.close(offered)


async def test_packets_that_had_come_before_a_party_moves_are_passed_on(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone))
        answered = call.answer(offered, party(other))
        phone.sendto(b"before", to(answered))
        call.pinholes.change(answered, media(party(gateway.server(port=8002))))
        assert (await hear(other))[0] == b"before"
        call.pinholes.close(offered)


# -- changes -----------------------------------------------------------------------------------------------------------


async def test_packets_that_cannot_be_sent_are_lost_and_counted_and_the_stream_goes_on(hosts: Hosts) -> None:
    """D50."""
    way = (f"{hosts.client_address(4)}/32",)
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        call.answer(offered, party(other))
        hosts.gateway.run("ip", "route", "add", "unreachable", *way)
        for _ in range(2):
            other.sendto(b"lost", to(offered))
        await silence(phone)
        hosts.gateway.run("ip", "route", "del", "unreachable", *way)
        other.sendto(b"arrives", to(offered))
        assert (await hear(phone))[0] == b"arrives"
        call.pinholes.close(offered)
        closed = next(
            line for line in gateway.shell.log.lines if line["event"] == "pinhole.closed" and line["packets_in"]
        )
        assert (closed["packets_in"], closed["packets_lost"]) == (3, 2)


async def test_a_mapped_place_stays_when_its_party_moves(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, other = Call(gateway), gateway.server(port=8000)
        before, after = gateway.client(port=7000), gateway.client(port=7002)
        ours = hosts.gateway_address(4)
        offered = call.offer(party(before, mapped=ours))
        answered = call.answer(offered, party(other))
        before.sendto(b"x", to(answered))
        await hear(other)
        moved = call.pinholes.change(offered, media(party(after, mapped=ours)))
        assert isinstance(moved, MediaGrant)
        assert moved.data == offered.data
        other.sendto(b"y", to(offered))
        assert (await hear(after))[0] == b"y"
        after.sendto(b"z", to(answered))
        assert await hear(other) == (b"z", to(offered))
        call.pinholes.close(offered)


async def test_a_place_without_nat_moves_with_its_party(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone = Call(gateway), gateway.client(port=7000)
        before, after = gateway.server(port=8000), gateway.server(port=8002)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        answered = call.answer(offered, party(before))
        moved = call.pinholes.change(answered, media(party(after)))
        assert isinstance(moved, MediaGrant)
        assert moved.data == at(after)
        phone.sendto(b"x", to(moved))
        assert await hear(after) == (b"x", to(offered))
        before.sendto(b"late", to(offered))
        after.sendto(b"y", to(offered))
        call.pinholes.close(offered)


async def test_a_place_that_cannot_move_with_its_party_is_gone(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        gateway.shell.pinholes.has_helper = lambda transport, port: port == 8060
        call, phone, before = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        answered = call.answer(offered, party(before))
        assert call.pinholes.change(answered, media(party(gateway.server(port=8060)))) == Refusal("address_in_use")
        assert (await gateway.shell.until("pinhole.closed"))["reason"] == "no_place"
        call.pinholes.close(offered)
        assert (len(gateway.shell.pinholes), len(gateway.shell.pinholes.endpoints)) == (0, 0)


async def test_what_a_stream_had_is_freed_with_it(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        apart = call.pinholes.apart()
        gc.collect()
        gc.disable()  # what is in cycles would stay until they are looked for, while calls come and go
        try:
            offered = apart.offer(media(party(phone, mapped=hosts.gateway_address(4))))
            assert isinstance(offered, MediaGrant)
            assert isinstance(apart.answer(offered, media(party(other))), MediaGrant)
            places = [weakref.ref(place) for place in gateway.shell.pinholes]
            apart.close(offered)
            assert [place() for place in places] == [None, None]
        finally:
            gc.enable()
