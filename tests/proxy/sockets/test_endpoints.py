"""Endpoints for datagrams: what has arrived when one is closed is handed on."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint
from proxy.sockets.reserved import MOST_OF_ONE_CLIENT, is_reserved
from tests.harness.shell import Shell
from tests.proxy.conftest import CLIENT, OURS

pytestmark = pytest.mark.usefixtures("network", "nothing_leaks")

MANY = 200


async def test_all_that_waits_when_an_endpoint_is_closed_is_handed_on_in_order() -> None:
    endpoints = Shell().pinholes.endpoints
    heard: list[bytes] = []
    endpoints.stranger = lambda endpoint, data, ancillary, source: heard.append(data)
    endpoint = endpoints.take(Endpoint(ip_address(OURS), 5060))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((CLIENT, 0))
        for number in range(MANY):
            sender.sendto(b"%d" % number, endpoint.address)
    endpoints.give(endpoint)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert heard == [b"%d" % number for number in range(MANY)]


async def test_what_waits_can_be_read_before() -> None:
    endpoints = Shell().pinholes.endpoints
    heard: list[bytes] = []
    endpoints.stranger = lambda endpoint, data, ancillary, source: heard.append(data)
    endpoint = endpoints.take(Endpoint(ip_address(OURS), 5060))
    assert not endpoint.has_left()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((CLIENT, 0))
        sender.sendto(b"x", endpoint.address)
    assert endpoint.has_left()
    endpoint.read_left()
    assert heard == [b"x"] and not endpoint.has_left()
    endpoints.give(endpoint)


async def test_whoever_has_several_sockets_asks_once_at_which_of_them_something_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoints = Shell().pinholes.endpoints
    heard: list[bytes] = []
    endpoints.stranger = lambda endpoint, data, ancillary, source: heard.append(data)
    readers = endpoints.readers
    one, other = (endpoints.take(Endpoint(ip_address(OURS), port)) for port in (5060, 5062))
    assert not readers.waiting()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((CLIENT, 0))
        sender.sendto(b"x", one.address)
    waiting = readers.waiting()
    assert (one.sock.fileno() in waiting, other.sock.fileno() in waiting) == (True, False)
    for endpoint in (other, one):
        endpoint.read_left(waiting)
    assert heard == [b"x"]
    with monkeypatch.context() as patch, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        patch.setattr("proxy.sockets.readers.SOCKETS_PER_LOOK", 1)
        sender.bind((CLIENT, 0))
        sender.sendto(b"y", one.address)
        waiting = readers.waiting()  # at one, as far as was asked, and perhaps at the other
        assert one.sock.fileno() in waiting and other.sock.fileno() in waiting
    for endpoint in (one, other):
        endpoint.read_left(waiting)
        endpoints.give(endpoint)
    assert heard == [b"x", b"y"]


async def test_a_bug_in_one_who_heard_it_does_not_keep_others_from_reading_what_waits() -> None:
    endpoints = Shell().pinholes.endpoints
    heard: list[bytes] = []

    def hear(endpoint: object, data: bytes, *_: object) -> None:
        heard.append(data)
        if data == b"bad":
            raise RuntimeError("a bug")

    endpoints.stranger = hear
    endpoint = endpoints.take(Endpoint(ip_address(OURS), 5060))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((CLIENT, 0))
        for data in (b"bad", b"good"):
            sender.sendto(data, endpoint.address)
    with pytest.raises(RuntimeError):
        endpoint.read_left()
    endpoint.read_left()
    assert heard == [b"bad", b"good"]
    endpoints.give(endpoint)


async def test_one_client_does_not_have_all_reserved_ports() -> None:
    endpoints, ours = Shell().pinholes.endpoints, ip_address(OURS)
    taken = [endpoints.take_free(ours, reserved_for="one") for _ in range(MOST_OF_ONE_CLIENT)]
    assert all(is_reserved(endpoint.at.port) for endpoint in taken)
    with pytest.raises(OSError, match="no free port"):
        endpoints.take_free(ours, reserved_for="one")
    taken.append(endpoints.take_free(ours, reserved_for="another"))
    endpoints.give(taken.pop(0))
    taken.append(endpoints.take_free(ours, reserved_for="one"))
    for endpoint in taken:
        endpoints.give(endpoint)
