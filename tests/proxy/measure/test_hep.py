"""HEP: what a collector gets of each message, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import threading
from ipaddress import ip_address
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Transport
from proxy.config.schema import Hep
from proxy.config.values import Target
from proxy.measure import hep
from tests.harness.measured import Parts, series
from tests.harness.shell import SECONDS

PHONE, SERVER = Endpoint(ip_address("10.1.0.2"), 5060), Endpoint(ip_address("198.51.100.2"), 5070)
PHONE6, SERVER6 = Endpoint(ip_address("fd01::2"), 5060), Endpoint(ip_address("2001:db8::2"), 5060)
MESSAGE = b"OPTIONS sip:x SIP/2.0\r\n\r\n"


def chunks(packet: bytes) -> dict[int, bytes]:
    """The chunks of a packet by their types, as the specification has them."""
    name, length = struct.unpack_from("!4sH", packet)
    assert (name, length) == (b"HEP3", len(packet))
    found, at = {}, 6
    while at < length:
        vendor, kind, size = struct.unpack_from("!HHH", packet, at)
        assert vendor == 0
        found[kind] = packet[at + 6 : at + size]
        at += size
    assert at == length
    return found


def test_a_packet_says_what_went_between_whom_and_when() -> None:
    packet = hep.packet(1, Transport.UDP, PHONE, SERVER, MESSAGE, b"one@x", 7, b"secret", 1_795_985_302_829_529)
    assert chunks(packet) == {
        1: b"\x02",
        2: b"\x11",
        3: PHONE.host.packed,
        4: SERVER.host.packed,
        7: struct.pack("!H", 5060),
        8: struct.pack("!H", 5070),
        9: struct.pack("!I", 1_795_985_302),
        10: struct.pack("!I", 829_529),
        11: b"\x01",
        12: struct.pack("!I", 7),
        14: b"secret",
        15: MESSAGE,
        17: b"one@x",
    }


def test_ipv6_and_tcp_have_numbers_of_their_own_and_what_is_not_known_is_left_out() -> None:
    found = chunks(hep.packet(1, Transport.TCP, PHONE6, SERVER6, MESSAGE, b"", 7, b"", 0))
    assert (found[1], found[2], found[5], found[6]) == (b"\x0a", b"\x06", PHONE6.host.packed, SERVER6.host.packed)
    assert not {3, 4, 14, 17} & found.keys()


def collector() -> tuple[socket.socket, Target]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(SECONDS)
    return sock, Target("127.0.0.1", sock.getsockname()[1])


def say(parts: Parts, data: bytes = MESSAGE) -> None:
    assert parts.sessions.collector is not None
    parts.sessions.collector.collect(1, Transport.UDP, PHONE, SERVER, data, b"one@x")


async def told(parts: Parts) -> tuple[float, float]:
    """How many copies were sent, and how many were lost."""
    found = series(await parts.text())
    return found["pinhole_hep_messages_total"], found["pinhole_hep_messages_lost_total"]


async def test_copies_of_one_moment_keep_their_order() -> None:
    parts, (sock, to) = Parts(), collector()
    parts.measuring.copy_to(Hep(to=to, id=7))
    for _ in range(20):
        say(parts)
    times = [struct.unpack("!II", found[9] + found[10]) for found in (chunks(sock.recv(2000)) for _ in range(20))]
    assert times == sorted(set(times))
    assert await told(parts) == (20, 0)
    await parts.measuring.stop()
    sock.close()


async def test_nobody_collects_unless_somebody_is_named() -> None:
    parts, (sock, to) = Parts(), collector()
    assert parts.sessions.collector is None
    parts.measuring.copy_to(Hep(to=to))
    first = parts.sessions.collector
    parts.measuring.copy_to(Hep(to=to))
    assert parts.sessions.collector is first  # a reload that says the same
    parts.measuring.copy_to(Hep())
    assert parts.sessions.collector is None
    await parts.measuring.stop()
    sock.close()


async def test_a_collector_that_is_not_there_costs_only_its_copies() -> None:
    parts, (sock, to) = Parts(), collector()
    sock.connect(("127.0.0.1", 9))  # it hears nobody else from now on, and its port is no other program's
    parts.measuring.copy_to(Hep(to=to))
    for _ in range(4):
        say(parts)
        await asyncio.sleep(0.01)  # the kernel tells of the refusal
    sent, lost = await told(parts)
    assert sent + lost == 4
    assert lost > 0
    await parts.measuring.stop()
    sock.close()


async def test_what_no_datagram_can_carry_is_lost() -> None:
    parts, (sock, to) = Parts(), collector()
    parts.measuring.copy_to(Hep(to=to))
    say(parts, bytes(65_001))
    assert await told(parts) == (0, 1)
    await parts.measuring.stop()
    sock.close()


async def test_a_name_is_looked_up_without_anybody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, (sock, to) = Parts(), collector()
    real, hosts = socket.getaddrinfo, ["127.0.0.1"]

    def look_up(host: str, *arguments: Any, **more: Any) -> object:
        assert host == "homer.example.org"
        return real(hosts[0], *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    parts.measuring.copy_to(Hep(to=Target("homer.example.org", to.port)))
    say(parts)
    assert await told(parts) == (0, 1)
    async with asyncio.timeout(SECONDS):
        while (await told(parts))[0] == 0:
            await asyncio.sleep(0.01)
            say(parts)
    assert chunks(sock.recv(2000))[15] == MESSAGE
    await parts.measuring.stop()
    sock.close()


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
async def test_a_name_that_is_none_loses_copies_and_nothing_else_and_is_told_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop, asked, often = asyncio.get_running_loop(), itertools.count(1), asyncio.Event()

    def look_up(*_: object, **__: object) -> object:
        if next(asked) == 4:
            loop.call_soon_threadsafe(often.set)
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(hep, "RETRY_SECONDS", 0)
    parts = Parts()
    parts.measuring.copy_to(Hep(to=Target("nowhere.example.org", 9060)))
    async with asyncio.timeout(SECONDS):
        await often.wait()
    say(parts)
    assert await told(parts) == (0, 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pinhole: hep: nowhere.example.org:9060 cannot be reached: ")
    await parts.measuring.stop()


async def test_a_name_is_looked_up_again_when_no_thread_could_be_had_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process may start only so many, and a look-up takes one."""
    parts, (sock, to) = Parts(), collector()
    real, real_look_up = threading.Thread.start, socket.getaddrinfo
    asked, has_failed_often = itertools.count(1), asyncio.Event()

    def start(thread: threading.Thread) -> None:
        if has_failed_often.is_set():
            real(thread)
            return
        if next(asked) == 3:
            has_failed_often.set()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(hep, "RETRY_SECONDS", 0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **more: real_look_up("127.0.0.1", to.port, **more))
    parts.measuring.copy_to(Hep(to=Target("homer.example.org", to.port)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("cannot be reached: can't start new thread; messages are not copied until it can")
    async with asyncio.timeout(SECONDS):
        await has_failed_often.wait()
        while (await told(parts))[0] == 0:
            await asyncio.sleep(0.01)
            say(parts)
    assert chunks(sock.recv(2000))[15] == MESSAGE
    assert capsys.readouterr().err == ""  # it was told once
    await parts.measuring.stop()
    sock.close()


async def test_an_address_to_which_no_way_leads_is_tried_until_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, (sock, to) = Parts(), collector()
    real, hosts = socket.getaddrinfo, ["fe80::1"]  # a link-local address without its link

    def look_up(host: str, *arguments: Any, **more: Any) -> object:
        return real(hosts[0], *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(hep, "RETRY_SECONDS", 0)
    parts.measuring.copy_to(Hep(to=Target("192.0.2.1", to.port)))
    assert f"192.0.2.1:{to.port} cannot be reached: " in capsys.readouterr().err
    hosts[0] = "127.0.0.1"
    async with asyncio.timeout(SECONDS):
        while (await told(parts))[0] == 0:
            await asyncio.sleep(0.01)
            say(parts)
    assert chunks(sock.recv(2000))[15] == MESSAGE
    await parts.measuring.stop()
    sock.close()
