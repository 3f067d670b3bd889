"""Whose packets a media relay takes: a party that has not said where it waits, strangers, the lock."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_network

import pytest

from protocols.contract.addresses import Endpoint, Host, Transport, only
from protocols.contract.pinholes import MediaGrant, Party, Refusal
from proxy.pinholes.candidates import LOCK_PACKETS
from tests.harness.media import said
from tests.harness.waiting import pause
from tests.netns.datagrams import Gateway, hear, silence
from tests.netns.media_calls import Call, at, media, party, rtp_packet, to
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]


# -- who has not said where it waits -----------------------------------------------------------------------------------


def unsaid(host: Host, control: Endpoint | None = None, mapped: Host | None = None) -> Party:
    """A party that only sends, or sends from nobody knows which port."""
    return Party(None, control, mapped, only(host), host=host)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("is_mapped", [True, False])
async def test_a_party_that_has_not_said_where_it_waits_is_found_by_its_first_packet(
    hosts: Hosts, version: int, is_mapped: bool
) -> None:
    """An RTSP server that names no server_port."""
    async with Gateway(hosts) as gateway:
        call, phone, server = Call(gateway), gateway.client(version, 7000), gateway.server(version, 8000)
        ours = hosts.gateway_address(version) if is_mapped else None
        offered = call.offer(party(phone, mapped=ours))
        call.answer(offered, unsaid(at(server).host))
        server.sendto(rtp_packet(1), to(offered))
        assert await hear(phone) == (rtp_packet(1), server.getsockname()[:2])
        phone.sendto(b"to the server", server.getsockname())
        assert await hear(server) == (b"to the server", to(offered))
        server.sendto(rtp_packet(2), to(offered))
        assert (await hear(phone))[0] == rtp_packet(2)
        call.pinholes.close(offered)
        closed = [line for line in gateway.shell.log.lines if line["event"] == "pinhole.closed"]
        assert {(line["packets_in"], line["packets_out"]) for line in closed} == {(2, 1), (1, 2)}


async def test_what_is_sent_to_a_party_before_it_is_known_where_it_waits_is_lost(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, server = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(unsaid(at(phone).host, mapped=hosts.gateway_address(4)))
        call.answer(offered, party(server))
        server.sendto(b"early", to(offered))
        await pause(0.05)
        phone.sendto(rtp_packet(1), server.getsockname())
        assert await hear(server) == (rtp_packet(1), to(offered))
        server.sendto(b"late", to(offered))
        assert (await hear(phone))[0] == b"late"
        call.pinholes.close(offered)
        closed = gateway.shell.log.last("pinhole.closed")
        assert (closed["packets_in"], closed["packets_lost"], closed["packets_refused"]) == (2, 1, 0)


async def test_media_of_one_direction_has_control_both_ways(hosts: Hosts) -> None:
    """A logical channel of H.323: the sender names RTCP alone, the receiver both. Its place has the pair of ports all
    the same."""
    async with Gateway(hosts) as gateway:
        call = Call(gateway)
        phone, phone_rtcp = gateway.client(port=7000), gateway.client(port=7001)
        other, other_rtcp = gateway.server(port=8000), gateway.server(port=8001)
        offered = call.offer(unsaid(at(phone).host, at(phone_rtcp), hosts.gateway_address(4)))
        assert offered.data is not None
        assert offered.data.port % 2 == 0
        assert offered.control == Endpoint(offered.data.host, offered.data.port + 1)
        call.answer(offered, party(other, other_rtcp))
        other_rtcp.sendto(b"report", (str(offered.control.host), offered.control.port))
        assert (await hear(phone_rtcp))[0] == b"report"
        phone.sendto(rtp_packet(1), other.getsockname())
        assert await hear(other) == (rtp_packet(1), to(offered))
        named = call.pinholes.change(offered, media(party(phone, phone_rtcp, hosts.gateway_address(4))))
        assert isinstance(named, MediaGrant)
        assert (named.data, named.control) == (offered.data, offered.control)
        call.pinholes.close(offered)


async def test_whoever_is_not_allowed_is_not_taken_for_a_party_that_has_not_said_where_it_waits(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, server = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        stranger = gateway.client(port=9000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        call.answer(offered, unsaid(at(server).host))
        stranger.sendto(rtp_packet(1), to(offered))
        server.sendto(rtp_packet(2), to(offered))
        assert (await hear(phone))[0] == rtp_packet(2)
        call.pinholes.close(offered)
        assert gateway.shell.log.last("pinhole.closed")["packets_refused"] == 1


async def test_media_over_tcp_is_refused(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone = Call(gateway), gateway.client(port=7000)
        over_tcp = replace(media(party(phone)), transport=Transport.TCP)
        assert call.pinholes.offer(over_tcp) == Refusal("transport_not_carried")


async def test_rtcp_has_the_next_odd_port(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call = Call(gateway)
        phone, phone_rtcp = gateway.client(port=7000), gateway.client(port=7009)
        other, other_rtcp = gateway.server(port=8000), gateway.server(port=8001)
        offered = call.offer(party(phone, phone_rtcp, mapped=hosts.gateway_address(4)))
        assert offered.control == Endpoint(said(offered.data).host, said(offered.data).port + 1)
        answered = call.answer(offered, party(other, other_rtcp))
        assert answered.control == at(other_rtcp)
        other_rtcp.sendto(b"report", (str(offered.control.host), offered.control.port))
        assert (await hear(phone_rtcp))[0] == b"report"
        phone_rtcp.sendto(b"report back", other_rtcp.getsockname())
        assert (await hear(other_rtcp))[0] == b"report back"
        await silence(phone)
        call.pinholes.close(offered)


async def test_two_who_answered_are_both_heard(hosts: Hosts) -> None:
    """Early media of two branches of a forked call (D27)."""
    async with Gateway(hosts) as gateway:
        call, phone = Call(gateway), gateway.client(port=7000)
        first, second = gateway.server(port=8000), gateway.server(port=8002)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        branches = [call.answer(offered, party(first)), call.answer(offered, party(second))]
        for other, branch in zip((first, second), branches, strict=True):
            other.sendto(b"ringing", to(offered))
            assert await hear(phone) == (b"ringing", other.getsockname())
            phone.sendto(b"hello", to(branch))
            assert await hear(other) == (b"hello", to(offered))
        call.pinholes.close(branches[0])
        first.sendto(b"still ringing", to(offered))
        second.sendto(b"here", to(offered))
        assert (await hear(phone))[0] == b"here"
        call.pinholes.close(offered)


async def test_two_streams_to_one_remote_address_do_not_mix(hosts: Hosts) -> None:
    """Conference servers take everybody on one port."""
    async with Gateway(hosts) as gateway:
        call, server = Call(gateway), gateway.server(port=8000)
        phones = [gateway.client(port=7000), gateway.client(port=7002)]
        offers = [call.offer(party(phone, mapped=hosts.gateway_address(4))) for phone in phones]
        answers = [call.answer(offered, party(server)) for offered in offers]
        assert answers[0].data == answers[1].data
        for phone, offered in zip(phones, offers, strict=True):
            phone.sendto(b"%d" % at(phone).port, server.getsockname())
            data, source = await hear(server)
            assert (int(data), source) == (at(phone).port, to(offered))
            server.sendto(data, source)
            assert (await hear(phone))[0] == data
        for offered in offers:
            call.pinholes.close(offered)


ELSEWHERE = {4: "192.0.2.66", 6: "2001:db8::66"}


@pytest.mark.parametrize("version", [4, 6])
async def test_on_a_partys_own_address_nothing_stands_before_the_answer_and_then_its_partner_alone_is_heard(
    hosts: Hosts, version: int
) -> None:
    """Everybody else's packets to that address and port pass as if nobody stood there."""
    nodad = ("nodad",) if version == 6 else ()
    bits = "24" if version == 4 else "64"
    hosts.server.run("ip", "address", "add", f"{ELSEWHERE[version]}/{bits}", "dev", "eth0", *nodad)
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(version, 7000), gateway.server(version, 8000)
        bystander = gateway.socket(hosts.server, ELSEWHERE[version], 8000)
        offered = call.offer(party(phone))
        assert len(gateway.shell.pinholes.endpoints) == 0
        for step in range(2):
            bystander.sendto(b"to the service", phone.getsockname()[:2])
            assert await hear(phone) == (b"to the service", bystander.getsockname()[:2])
            phone.sendto(b"from the service", bystander.getsockname()[:2])
            assert await hear(bystander) == (b"from the service", phone.getsockname()[:2])
            if not step:
                answered = call.answer(offered, party(other))
                assert len(gateway.shell.pinholes.endpoints) == 2
        for _ in range(3):
            other.sendto(b"media", to(offered))
            assert await hear(phone) == (b"media", other.getsockname()[:2])
            phone.sendto(b"media", to(answered))
            assert await hear(other) == (b"media", phone.getsockname()[:2])
        call.pinholes.close(offered)
        assert gateway.shell.log.last("pinhole.closed")["packets_refused"] == 0


@pytest.mark.parametrize("mapped", [True, False])
async def test_two_hosts_that_answered_are_both_heard_and_one_may_move_to_another_host(
    hosts: Hosts, mapped: bool
) -> None:
    """Each has a socket of its own at a party's own address (D27)."""
    for host in ("192.0.2.66", "192.0.2.67"):
        hosts.server.run("ip", "address", "add", f"{host}/24", "dev", "eth0")
    async with Gateway(hosts) as gateway:
        call, phone, first = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        second, third = (gateway.socket(hosts.server, host, 8000) for host in ("192.0.2.66", "192.0.2.67"))
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4) if mapped else None))
        grants = {first: call.answer(offered, party(first)), second: call.answer(offered, party(second))}
        for _ in range(2):
            for other, granted in grants.items():
                other.sendto(b"ringing", to(offered))
                assert await hear(phone) == (b"ringing", other.getsockname())
                phone.sendto(b"hello", to(granted))
                assert await hear(other) == (b"hello", to(offered))
            if second in grants:
                moved = call.pinholes.change(grants.pop(second), media(party(third)))
                assert isinstance(moved, MediaGrant)
                grants[third] = moved
        call.pinholes.close(offered)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mapped", [True, False])
async def test_a_party_whose_nat_has_another_port_for_it_is_followed_both_ways(
    hosts: Hosts, version: int, mapped: bool
) -> None:
    """D41. And a neighbour behind the same NAT, who does not know the stream, is not."""
    async with Gateway(hosts) as gateway:
        call, phone = Call(gateway), gateway.client(version, 7000)
        before, after, neighbour = (gateway.server(version, port) for port in (8000, 8100, 8200))
        offered = call.offer(party(phone, mapped=hosts.gateway_address(version) if mapped else None))
        answered = call.answer(offered, party(before))
        for number in range(3):
            before.sendto(rtp_packet(number), to(offered))
            assert (await hear(phone))[0] == rtp_packet(number)
        neighbour.sendto(rtp_packet(100).replace(b"ssrc", b"evil"), to(offered))
        for number in range(3, 33):
            after.sendto(rtp_packet(number), to(offered))
        for number in range(3, 33):
            assert (await hear(phone))[0] == rtp_packet(number)
        phone.sendto(b"back", to(answered))
        assert (await hear(after))[0] == b"back"
        before.sendto(rtp_packet(40), to(offered))  # its announced address stays its own
        assert (await hear(phone))[0] == rtp_packet(40)
        phone.sendto(b"back", to(answered))
        assert (await hear(before))[0] == b"back"
        call.pinholes.close(offered)
        closed = {line["pinhole"]: line for line in gateway.shell.log.lines if line["event"] == "pinhole.closed"}
        assert closed[gateway.shell.pinholes.name(offered.id)]["packets_refused"] == 1


async def test_media_of_a_call_is_silent_together_or_not_at_all(hosts: Hosts) -> None:
    """RFC 4103: nothing is sent while nobody types; D44."""
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        texts = gateway.client(port=7002), gateway.server(port=8002)
        unused = gateway.client(port=7004), gateway.server(port=8004)
        idle = 0.5
        offers = []
        for one, two in ((phone, other), texts, unused):
            offers.append(call.offer(party(one), idle_seconds=idle, open_seconds=idle))
            call.answer(offers[-1], party(two), idle_seconds=idle, open_seconds=idle)
        texts[1].sendto(b"H", to(offers[1]))
        await hear(texts[0])
        for _ in range(12):
            other.sendto(b"speech", to(offers[0]))
            await hear(phone)
            await asyncio.sleep(idle / 4)
        texts[1].sendto(b"i", to(offers[1]))
        assert (await hear(texts[0]))[0] == b"i"
        unused[1].sendto(b"at last", to(offers[2]))
        assert (await hear(unused[0]))[0] == b"at last"
        await gateway.shell.until("pinhole.closed")
        assert not len(call.pinholes)


async def test_while_signalling_says_that_a_call_lives_its_media_may_be_silent(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        call.pinholes.keep(60)
        offered = call.offer(party(phone), idle_seconds=0.05, open_seconds=0.05)
        await asyncio.sleep(0.2)
        call.answer(offered, party(other), idle_seconds=0.05, open_seconds=0.05)
        other.sendto(b"x", to(offered))
        await hear(phone)
        await asyncio.sleep(0.2)
        other.sendto(b"y", to(offered))
        assert (await hear(phone))[0] == b"y"
        call.pinholes.keep(0)
        assert (await gateway.shell.until("pinhole.closed"))["reason"] == "idle"


# -- who is let in -----------------------------------------------------------------------------------------------------


async def test_nobody_passes_before_there_is_an_answer(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        other.sendto(b"early", to(offered))
        await silence(phone)
        call.pinholes.close(offered)
        assert gateway.shell.log.last("pinhole.closed")["packets_refused"] == 1
        assert "violation" not in gateway.shell.log.events()


async def test_a_stranger_is_refused_before_and_after_the_lock_and_counted(hosts: Hosts) -> None:
    hosts.server.run("ip", "address", "add", "192.0.2.66/24", "dev", "eth0")
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        stranger = gateway.socket(hosts.server, "192.0.2.66", 8000)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        call.answer(offered, party(other))
        stranger.sendto(b"attack", to(offered))
        for number in range(LOCK_PACKETS + 1):
            other.sendto(b"%d" % number, to(offered))
            assert (await hear(phone))[0] == b"%d" % number
        stranger.sendto(b"attack", to(offered))
        await silence(phone)
        call.pinholes.close(offered)
        closed = gateway.shell.log.last("pinhole.closed")
        assert (closed["packets_in"], closed["packets_refused"]) == (LOCK_PACKETS + 1, 2)
        assert gateway.shell.log.events().count("violation") == 1


async def test_another_port_of_the_party_is_learned_from_the_first_packets_and_then_held_to(hosts: Hosts) -> None:
    """Not everybody sends from where it receives (D41)."""
    async with Gateway(hosts) as gateway:
        call, phone = Call(gateway), gateway.client(port=7000)
        waits, sends, third = (gateway.server(port=port) for port in (8000, 9000, 9002))
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        answered = call.answer(offered, party(waits))
        for _ in range(LOCK_PACKETS):
            sends.sendto(b"speech", to(offered))
            assert (await hear(phone))[0] == b"speech"
        third.sendto(b"late", to(offered))
        await silence(phone)
        phone.sendto(b"answer", to(answered))
        assert (await hear(waits))[0] == b"answer"
        call.pinholes.close(offered)


STUN = bytes.fromhex("000100002112a442") + bytes(12)
RTP = b"\x80\x00" + bytes(170)


async def test_where_media_comes_from_is_not_learned_from_stun_or_keep_alives_after_media(hosts: Hosts) -> None:
    """Both also come from ports that no media comes from (D42, D45)."""
    async with Gateway(hosts) as gateway:
        call, phone = Call(gateway), gateway.client(port=7000)
        waits, sends, tries = (gateway.server(port=port) for port in (8000, 9000, 9002))
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        call.answer(offered, party(waits))
        for _ in range(LOCK_PACKETS + 1):
            tries.sendto(STUN, to(offered))
            assert (await hear(phone))[0] == STUN
        for packet in (RTP, b"\x00", RTP):
            sends.sendto(packet, to(offered))
            assert (await hear(phone))[0] == packet
            tries.sendto(STUN, to(offered))
            tries.sendto(b"", to(offered))
            await silence(phone)
        sends.sendto(STUN, to(offered))
        assert (await hear(phone))[0] == STUN
        call.pinholes.close(offered)
        assert gateway.shell.log.last("pinhole.used")["protocol"] == "stun"
        assert gateway.shell.log.last("pinhole.closed")["packets_refused"] == 6


def behind_nat(gateway: Gateway) -> tuple[Call, socket.socket, socket.socket, MediaGrant, MediaGrant]:
    """A phone, and a party that names its own address and is known by that of a NAT: the second socket is the NAT's."""
    call, phone, mapping = Call(gateway), gateway.client(port=7000), gateway.server(port=9000)
    hidden = Party(Endpoint(ip_network("192.168.7.7/32")[0], 4000), None, None, only(at(mapping).host), learn=True)
    offered = call.offer(party(phone, mapped=gateway.hosts.gateway_address(4)))
    return call, phone, mapping, offered, call.answer(offered, hidden)


async def test_stun_and_keep_alives_of_a_party_are_answered_before_there_is_media(hosts: Hosts) -> None:
    """Who waits for the answer to its STUN before it sends media would wait for ever (D40)."""
    async with Gateway(hosts) as gateway:
        call, phone, mapping, offered, answered = behind_nat(gateway)
        for packet in (STUN, b"", b"\x00"):
            mapping.sendto(packet, to(offered))
            assert (await hear(phone))[0] == packet
            phone.sendto(b"back", to(answered))
            assert (await hear(mapping))[0] == b"back"
        call.pinholes.close(offered)


async def test_a_party_behind_nat_is_answered_where_its_packets_come_from(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, mapping, offered, answered = behind_nat(gateway)
        mapping.sendto(b"from behind", to(offered))
        assert (await hear(phone))[0] == b"from behind"
        phone.sendto(b"back", to(answered))
        assert (await hear(mapping))[0] == b"back"
        call.pinholes.close(offered)


async def test_the_class_of_traffic_is_kept(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        call, phone, other = Call(gateway), gateway.client(port=7000), gateway.server(port=8000)
        other.setsockopt(socket.SOL_IP, socket.IP_RECVTOS, 1)
        phone.setsockopt(socket.SOL_IP, socket.IP_TOS, 46 << 2)
        offered = call.offer(party(phone, mapped=hosts.gateway_address(4)))
        phone.sendto(b"speech", to(call.answer(offered, party(other))))
        async with asyncio.timeout(5):
            while True:
                await asyncio.sleep(0.01)
                try:
                    _, ancillary, _, _ = other.recvmsg(100, 100)
                except BlockingIOError:
                    continue
                break
        assert ancillary == [(socket.SOL_IP, socket.IP_TOS, bytes([46 << 2]))]
        call.pinholes.close(offered)
