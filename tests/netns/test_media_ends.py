"""How media ends: silence, hold, what is left, and what can never be had."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, only
from protocols.contract.pinholes import Closed, MediaGrant, Party, Refusal, Used
from proxy.config.schema import Limits
from proxy.pinholes.media import MediaPlace
from tests.netns.datagrams import Gateway, hear, silence
from tests.netns.media_calls import Call, at, media, party, to
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]


async def test_a_stream_that_nobody_uses_and_one_that_falls_silent_end(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        call.offer(party(phone, mapped=hosts.gateway_address(4)), open_seconds=0.1)
        assert (await gateway.shell.until("pinhole.closed"))["reason"] == "never_used"
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)), idle_seconds=0.5, open_seconds=0.5)
        call.answer(offered, party(other))
        other.sendto(b"once", to(offered))
        await hear(phone)
        await gateway.shell.until("pinhole.closed", 3)
        closed = {line["pinhole"]: line for line in gateway.shell.log.lines if line["event"] == "pinhole.closed"}
        last = closed[gateway.shell.pinholes.name(offered.id)]
        assert (last["reason"], last["packets_in"], last["bytes_in"]) == ("idle", 1, 4)
        assert [type(event) for event in call.events] == [Closed, Used, Closed, Closed]
        assert not len(call.pinholes)


async def test_a_stream_that_falls_silent_early_ends_no_later_than_another(hosts: Hosts) -> None:
    """However long it might have waited for its first packet (D44)."""
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone), idle_seconds=0.4, open_seconds=60)
        call.answer(offered, party(other), idle_seconds=0.4, open_seconds=60)
        other.sendto(b"x", to(offered))
        assert (await hear(phone))[0] == b"x"
        async with asyncio.timeout(10):
            assert (await gateway.shell.until("pinhole.closed", 2))["reason"] == "idle"


async def test_a_stream_on_hold_may_be_silent(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone = Call(gateway), gateway.client(port=7000)
        for_ever = float("inf")
        offered = call.offer(party(phone), idle_seconds=for_ever, open_seconds=for_ever)
        await asyncio.sleep(0.1)
        assert len(call.pinholes) == 1
        call.pinholes.close(offered)


async def test_packets_that_are_faster_than_the_answer_wait_for_it(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        stranger = gateway.client(port=7001)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        stranger.sendto(b"stranger", to(offered))
        other.sendto(b"early", to(offered))
        await silence(phone)
        call.answer(offered, party(other, allow=only(at(other).host)))
        assert await hear(phone) == (b"early", other.getsockname()[:2])
        call.pinholes.close(offered)


async def test_those_of_a_call_that_is_not_answered_are_counted(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        for _ in range(3):
            other.sendto(b"early", to(offered))
        await silence(phone)
        call.pinholes.close(offered)
        assert gateway.shell.log.last("pinhole.closed")["packets_refused"] == 3


@pytest.mark.parametrize("first_to_end", [0, 1, 2])
async def test_of_several_streams_between_the_same_addresses_the_newest_has_the_packets(
    hosts: Hosts, first_to_end: int
) -> None:
    """A phone that was switched off without a BYE calls again from the same port."""
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        calls = []
        for _ in range(3):
            offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
            answered = call.answer(offered, party(other))
            calls.append((offered, answered))
        left = [offered for offered, _ in calls]
        call.pinholes.close(left.pop(first_to_end))
        while left:
            phone.sendto(b"x", to(calls[0][1]))
            assert await hear(other) == (b"x", to(left[-1]))
            call.pinholes.close(left.pop())


async def test_either_party_may_put_it_on_hold(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        for_ever = float("inf")
        offered = call.offer(party(phone), idle_seconds=0.5, open_seconds=0.5)
        answered = call.answer(offered, party(other), idle_seconds=for_ever, open_seconds=for_ever)
        other.sendto(b"x", to(offered))
        await hear(phone)
        await asyncio.sleep(1)
        assert len(call.pinholes) == 2
        resumed = call.pinholes.change(answered, media(party(other)))
        assert isinstance(resumed, MediaGrant)
        assert (await gateway.shell.until("pinhole.closed", 2))["reason"] == "idle"


async def test_what_cannot_be_had_is_refused_and_leaves_nothing(hosts: Hosts) -> None:
    async with Gateway(hosts, limits=Limits(pinholes_per_session=2)) as gateway:
        call, phone = Call(gateway), gateway.client(port=7000)
        held = gateway.socket(hosts.gateway, "192.0.2.1", 8001)
        taken = Party(Endpoint(at(held).host, 8000), at(held), None, only(at(held).host))
        offered = call.offer(party(phone, gateway.client(port=7001)))
        assert call.pinholes.answer(offered, media(taken)) == Refusal("address_in_use")
        call.pinholes.close(offered)
        server = hosts.server_address(4)
        for signalling in (
            Party(Endpoint(server, 5060), None, None, ()),
            Party(Endpoint(server, 5059), Endpoint(server, 5060), None, ()),
        ):
            assert call.pinholes.offer(media(signalling)) == Refusal("address_in_use")
        loopback = Party(Endpoint(ip_network("127.0.0.1/32")[0], 8000), None, None, ())
        assert call.pinholes.offer(media(loopback)) == Refusal("target_not_allowed")
        offers = [call.offer(party(phone, mapped=hosts.gateway_address(4))) for _ in range(2)]
        assert call.pinholes.offer(media(party(phone))) == Refusal("limit_per_session")
        assert call.pinholes.answer(offers[0], media(party(phone))) == Refusal("limit_per_session")
        for offered in offers:
            call.pinholes.close(offered)
            call.pinholes.close(offered)
        assert gateway.shell.log.last("pinhole.refused")["reason"] == "limit_per_session"
        assert len(gateway.shell.pinholes.endpoints) == 0


async def test_a_call_between_two_places_of_ours_does_not_go_round_in_circles(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, liar, ours = Call(gateway), Call(gateway), hosts.gateway_address(4)
        phone, neighbour = gateway.client(4, 7000), gateway.client(4, 7100)
        first = call.offer(party(phone, mapped=ours))
        second = call.offer(party(neighbour, mapped=ours))
        answered = call.answer(first, Party(second.data, None, None, only(ours)))
        offered = liar.offer(Party(first.data, None, None, only(ours)))
        liar.answer(offered, Party(second.data, None, None, only(ours)))
        raised: list[Any] = []
        gateway.shell.loop.set_exception_handler(lambda _, context: raised.append(context))
        phone.sendto(b"hello", to(answered))
        await silence(neighbour)
        assert raised == []
        assert sum(place.counts_in().packets for place in liar.pinholes if isinstance(place, MediaPlace)) == 1
        call.pinholes.end("over")
        liar.pinholes.end("over")


async def test_two_calls_that_name_the_places_of_each_other_do_not_go_round_in_circles(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, ours = Call(gateway), hosts.gateway_address(4)
        phone, neighbour, other = gateway.client(4, 7000), gateway.client(4, 7100), gateway.server(4, 8000)
        first = call.offer(party(phone, mapped=ours))
        second = call.offer(party(neighbour, mapped=ours))
        for offered in (first, second):
            call.answer(offered, party(other))
        for offered, named in ((first, second), (second, first)):
            call.pinholes.change(offered, media(Party(named.data, None, ours, only(ours))))
        raised: list[Any] = []
        gateway.shell.loop.set_exception_handler(lambda _, context: raised.append(context))
        other.sendto(b"hello", to(first))
        await silence(phone)
        assert raised == []
        assert "failed" not in {line.get("reason") for line in gateway.shell.log.lines}
        assert len(call.pinholes) == 4
        call.pinholes.end("over")
