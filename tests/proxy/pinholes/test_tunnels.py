"""Places of tunnels on a network of this test's own: who gets one, which id it has, and what becomes of packets that
come too soon or from others."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Side, Transport, only
from protocols.contract.pinholes import Closed, Media, MediaGrant, Party, PinholeEvent, Refusal, Used
from proxy.pinholes.of_session import SessionPinholes
from proxy.pinholes.tunnels import MOST_EARLY, MOST_EARLY_BYTES
from proxy.sockets import raw, transparent
from proxy.sockets.arrival import Arrival
from tests.harness.pptp_messages import gre
from tests.harness.shell import SECONDS, Shell
from tests.harness.waiting import pause
from tests.proxy.conftest import CLIENT, CLIENT6, OURS, SERVER, STRANGER

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("network", "nothing_leaks")


class Owner(SimpleNamespace):
    """A session whose engine is this test."""

    def pinhole_event(self, grant: Any, event: PinholeEvent) -> None:
        self.heard.append((grant.id, event))
        self.has_heard.set()


@pytest.fixture(autouse=True)
def hosts_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses of the network are this host's own, and yet some play other hosts."""
    monkeypatch.setattr(transparent, "is_own", lambda host: str(host) == OURS)


def at(shell: Shell, hosts: tuple[str, str] = (CLIENT, SERVER)) -> tuple[SessionPinholes, Owner]:
    client, server = (ip_address(host) for host in hosts)
    arrival = Arrival(Transport.TCP, "lan0", Endpoint(client, 4000), Endpoint(server, 1723))
    facts = {"log": shell.log, "key": "s", "arrival": arrival, "policy": shell.config.policies[0], "heard": []}
    facts["has_heard"] = asyncio.Event()
    owner = Owner(
        **facts, helper=shell.helper, charged_to=hosts[0], group=None, decided_by=arrival, hosts=(client, server)
    )
    return SessionPinholes(shell.pinholes, owner), owner


def media(host: str, number: int, mapped: str | None = None, **more: Any) -> Media:
    own = ip_address(host)
    party = Party(
        data=Endpoint(own, number),
        control=None,
        mapped=ip_address(mapped) if mapped else None,
        allow=only(own),
        host=own,
        side=Side.CLIENT if host == CLIENT else Side.SERVER,
        **more,
    )
    return Media("test-tunnel", "TEST", party, idle_seconds=60, open_seconds=60, transport=Transport.GRE)


def granted(answer: MediaGrant | Refusal) -> MediaGrant:
    assert isinstance(answer, MediaGrant), answer
    return answer


def reason(answer: MediaGrant | Refusal) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.reason


class Ends:
    """The two hosts, and a third one."""

    def __init__(self) -> None:
        self.socks = {host: self._raw(host) for host in (CLIENT, SERVER, STRANGER)}

    def _raw(self, host: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, raw.GRE)
        sock.bind((host, 0))
        return sock

    def send(self, source: str, to: str, data: bytes) -> None:
        self.socks[source].sendto(data, (to, 0))

    async def receive(self) -> tuple[str, int, bytes]:
        """What comes to the client: from whom, with which id, and what it carries."""
        async with asyncio.timeout(SECONDS):
            data = await asyncio.get_running_loop().sock_recv(self.socks[CLIENT], 65536)
        return socket.inet_ntoa(data[12:16]), int.from_bytes(data[26:28], "big"), data[28:]

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.socks.values():
            sock.close()


def end(pinholes: SessionPinholes) -> None:
    pinholes.end("session_closed")
    assert len(pinholes) == 0


async def test_packets_that_come_before_the_answer_are_passed_on_with_it() -> None:
    """PP19: those of the partner alone, a few, and no long ones."""
    shell = Shell()
    pinholes, owner = at(shell)
    with Ends() as ends:
        offered = granted(pinholes.offer(media(CLIENT, 5, OURS)))
        assert offered.data is not None and offered.data.port != 5
        number = offered.data.port
        ends.send(STRANGER, OURS, gre(number, b"stranger"))
        ends.send(SERVER, OURS, gre(number, b"x" * MOST_EARLY_BYTES))
        for count in range(MOST_EARLY):
            ends.send(SERVER, OURS, gre(number, b"%d" % count))
        await pause(0.05)
        granted(pinholes.answer(offered, media(SERVER, 9)))
        assert [await ends.receive() for _ in range(MOST_EARLY - 1)] == [
            (SERVER, 5, b"%d" % count) for count in range(MOST_EARLY - 1)
        ]
        ends.send(SERVER, OURS, gre(number, b"later"))
        assert await ends.receive() == (SERVER, 5, b"later")
        assert (offered.id, Used(Endpoint(ip_address(SERVER), 9))) in owner.heard
        end(pinholes)
    closed = {number: event for number, event in owner.heard if isinstance(event, Closed)}
    assert closed[offered.id].packets_in == MOST_EARLY
    refused = {line["packets_refused"] for line in shell.log.lines if line["event"] == "pinhole.closed"}
    assert refused == {0, 3}  # the stranger's, the long one, and the last one of too many
    assert len(shell.pinholes.raw) == 0


async def test_a_tunnel_has_one_answer_and_ends_with_either_place() -> None:
    shell = Shell()
    pinholes, owner = at(shell)
    offered = granted(pinholes.offer(media(CLIENT, 5, OURS)))
    answered = granted(pinholes.answer(offered, media(SERVER, 9)))
    assert reason(pinholes.answer(offered, media(SERVER, 10))) == "address_in_use"
    assert reason(pinholes.change(offered, offered.media)) == "closed"
    assert [place.state for place in pinholes] == ["waiting", "waiting"]
    pinholes.close(answered, "cleared")
    assert [event.reason for _, event in owner.heard] == ["cleared", "cleared"] and len(pinholes) == 0
    assert reason(pinholes.answer(offered, media(SERVER, 9))) == "offer_gone"


async def test_an_offer_that_nobody_answers_is_over_in_time() -> None:
    shell = Shell()
    pinholes, owner = at(shell)
    unanswered = media(CLIENT, 5, OURS)
    object.__setattr__(unanswered, "open_seconds", 0.1)
    granted(pinholes.offer(unanswered))
    async with asyncio.timeout(SECONDS):
        await owner.has_heard.wait()
    assert [event.reason for _, event in owner.heard] == ["never_used"]


async def test_a_published_server_keeps_its_id_while_that_is_free() -> None:
    shell = Shell()
    (first, one_owner), (other, other_owner) = at(shell), at(shell, (STRANGER, SERVER))
    published = media(SERVER, 0, OURS, keeps_port=True)
    one = granted(first.answer(granted(first.offer(media(CLIENT, 5))), published))
    two = granted(other.answer(granted(other.offer(media(STRANGER, 5))), published))
    assert one.data == Endpoint(ip_address(OURS), 0)
    assert two.data is not None and two.data.port != 0
    end(first)
    end(other)
    assert one_owner.heard and other_owner.heard


async def test_of_two_tunnels_that_nobody_could_tell_apart_the_second_is_refused() -> None:
    """PP17: the same two hosts, and the same id."""
    shell = Shell()
    pinholes, _ = at(shell)
    granted(pinholes.answer(granted(pinholes.offer(media(CLIENT, 5, OURS))), media(SERVER, 9)))
    second = granted(pinholes.offer(media(CLIENT, 6, OURS)))
    assert reason(pinholes.answer(second, media(SERVER, 9))) == "address_in_use"
    end(pinholes)


async def test_who_gets_no_place() -> None:
    shell = Shell()
    pinholes, owner = at(shell)
    assert reason(pinholes.offer(media(STRANGER, 5))) == "third_host"
    owner.hosts = (*owner.hosts, ip_address(OURS), ip_address(CLIENT6))
    assert reason(pinholes.offer(media(OURS, 5))) == "target_is_gateway"
    assert reason(pinholes.offer(media(CLIENT6, 5))) == "transport_not_carried"
    assert reason(pinholes.offer(media("127.0.0.1", 5))) == "target_not_allowed"
    offer = media(CLIENT, 5)
    object.__setattr__(offer, "transport", Transport.TCP)
    assert reason(pinholes.offer(offer)) == "transport_not_carried"
    assert len(shell.pinholes.raw) == 0


async def test_ids_of_ours_run_out_before_they_are_hard_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MOST_IDS", 3)
    shell = Shell()
    pinholes, _ = at(shell)
    numbers = {granted(pinholes.offer(media(CLIENT, number, OURS))).data for number in range(3)}
    assert len(numbers) == 3
    assert reason(pinholes.offer(media(CLIENT, 9, OURS))) == "no_free_port"
    end(pinholes)


async def test_a_tunnel_that_ends_is_not_looked_for_among_the_others_of_its_server() -> None:
    """A concentrator has thousands: what one costs must not grow with them."""
    shell, compared = Shell(), []

    class Place:
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return self is other

    endpoint = shell.pinholes.raw.take(IPv4Address(OURS))
    places: Any = [Place() for _ in range(100)]
    for number, place in enumerate(places):
        endpoint.claim(place, IPv4Address(SERVER), number, place)
    for number, place in reversed(list(enumerate(places))):
        endpoint.unclaim(place, IPv4Address(SERVER), number)
    assert not compared
    shell.pinholes.raw.give(endpoint)


async def test_a_tunnel_takes_no_port_and_does_not_wait_for_one() -> None:
    """Offers of media that hold all the ports they may are no business of it."""
    shell = Shell()
    pinholes, _ = at(shell)
    calls = []
    for number in range(2000):
        calls.append(pinholes.apart())
        ringing = replace(media(CLIENT, 5000 + number, OURS), transport=Transport.UDP)
        if isinstance(answer := calls[-1].offer(ringing), Refusal):
            break
    assert reason(answer) == "limit_of_offers"
    granted(pinholes.offer(media(CLIENT, 5, OURS)))
    end(pinholes)


async def test_a_packet_whose_ip_header_has_options_is_read_behind_them() -> None:
    shell = Shell()
    pinholes, _ = at(shell)
    with Ends() as ends:
        offered = granted(pinholes.offer(media(CLIENT, 5, OURS)))
        granted(pinholes.answer(offered, media(SERVER, 9)))
        assert offered.data is not None
        ends.socks[SERVER].setsockopt(socket.SOL_IP, socket.IP_OPTIONS, b"\1\1\1\1")
        ends.send(SERVER, OURS, gre(offered.data.port, b"behind options"))
        assert await ends.receive() == (SERVER, 5, b"behind options")
        end(pinholes)


def test_it_takes_a_single_capability() -> None:
    """PP1: CAP_NET_RAW, as a process of an ordinary user has it."""
    code = (
        "from ipaddress import ip_address; from proxy.sockets import transparent;"
        f"print(transparent.raw(ip_address('203.0.113.7'), {raw.GRE}).getsockname()[0])"
    )
    keep = ("--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw", "--bounding-set", "-all,+net_raw")
    command = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *keep, sys.executable, "-c", code)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("203.0.113.7\n", "")
    without = [word.replace("+net_raw", "+net_bind_service") for word in command]
    refused = subprocess.run(without, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "CAP_NET_RAW" in refused.stderr


async def test_a_mark_is_on_what_goes_to_the_server_alone() -> None:
    shell = Shell(route_mark=0x42)
    pinholes, _ = at(shell)
    offered = granted(pinholes.offer(media(CLIENT, 5, OURS)))
    granted(pinholes.answer(offered, media(SERVER, 9)))
    marks = {}
    for host in (OURS, SERVER):
        endpoint = shell.pinholes.raw.take(IPv4Address(host))
        marks[host] = [
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) for sock in (endpoint.sock, *endpoint._marked.values())
        ]
        endpoint.send_as(0x42, 0xB8)
        shell.pinholes.raw.give(endpoint)
    assert marks == {OURS: [0, 0x42], SERVER: [0]}
    end(pinholes)
