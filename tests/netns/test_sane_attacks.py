"""Attacks on the helper of SANE, each really tried through a locked-down gateway: by strangers, by servers, and by
clients that want a way to other ports or were made to speak to this one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from protocols.sane.wire import Code
from tests.harness.sane_messages import init, initialized, start, started, string, words
from tests.netns.connections import is_reset, read
from tests.netns.ftp_talk import SECONDS, fate, serving
from tests.netns.namespaces import needs_root
from tools.lab import gateways
from tools.lab.gateways import ROLES, Gateway

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SANE = 6566
PICTURE = b"picture"


class Talk:
    """A connection of a client to a scripted server of scanners."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server

    def ask(self, request: bytes) -> None:
        self.client.sendall(request)
        assert read(self.server, len(request)) == request

    def answer(self, answer: bytes) -> bytes:
        """Returns what the client hears."""
        self.server.sendall(answer)
        return read(self.client, len(answer))

    def begin(self) -> Talk:
        self.ask(init())
        assert self.answer(initialized()) == initialized()
        return self

    def start(self, port: int, handle: int = 0) -> int:
        """Returns the port that the client is told."""
        self.ask(start(handle))
        heard = self.answer(started(port))
        told = int.from_bytes(heard[4:8], "big")
        assert heard == started(told)
        return told


class Site:
    """A gateway that drops all that pinhole does not carry, and a scripted server behind it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.daemon = gateway, gateway.daemon
        self.at = str(gateway.dialled(4))
        self.listener = serving(gateway.server, SANE)
        self.before = 0

    @contextlib.contextmanager
    def talk(self) -> Iterator[Talk]:
        with self.gateway.client.inside():
            client = socket.create_connection((self.at, SANE), SECONDS)
        self.listener.settimeout(SECONDS)
        with client, self.listener.accept()[0] as server:
            yield Talk(client, server)

    @contextlib.contextmanager
    def picture(self) -> Iterator[tuple[socket.socket, int]]:
        """A server that waits for whoever comes for its picture, and the port where it does."""
        with serving(self.gateway.server, 0) as waiting:
            waiting.settimeout(SECONDS)
            yield waiting, waiting.getsockname()[1]

    def fetch(self, waiting: socket.socket, port: int) -> bytes:
        """What the client gets at this port."""
        with self.gateway.client.inside():
            data = socket.create_connection((self.at, port), SECONDS)
        with data, waiting.accept()[0] as sending:
            data.shutdown(socket.SHUT_WR)  # as libsane does
            sending.sendall(PICTURE)
            sending.close()
            return read(data, 100)

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of this test, once its sessions have ended."""
        self.daemon.until(sessions=0, pinholes=0)
        return [line for line in self.daemon.audit()[self.before :] if line["event"] == event]

    def violations(self) -> list[str]:
        return [line["rule"] for line in self.told("violation")]

    def is_shut(self, port: int) -> bool:
        return fate(self.gateway.client, self.at, port) in ("refused", "silent")

    def start_opens_nothing(self, talk: Talk, port: int) -> None:
        """START and its answer pass as they came, and no way leads to the picture."""
        talk.ask(start())
        assert talk.answer(started(port)) == started(port)
        assert self.is_shut(port)

    def goes_on(self) -> None:
        with self.talk() as talk, self.picture() as (waiting, port):
            assert self.fetch(waiting, talk.begin().start(port)) == PICTURE


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def usual(request: pytest.FixtureRequest) -> Iterator[Site]:
    with gateways.serving(request.param, "nft") as gateway:
        site = Site(gateway)
        with site.listener:
            yield site


@pytest.fixture
def gate(usual: Site) -> Iterator[Site]:
    usual.before = len(usual.daemon.audit())
    yield usual
    usual.goes_on()
    assert usual.told("engine.failed") == []


# -- the way to a picture ----------------------------------------------------------------------------------------------


def test_a_stranger_does_not_come_by_it_and_does_not_use_it_up(gate: Site) -> None:
    """SA10."""
    _, stranger = gate.gateway.clients
    with gate.talk() as talk, gate.picture() as (waiting, port):
        told = talk.begin().start(port)
        assert fate(stranger, gate.at, told) == ("reset" if gate.gateway.role.hides_server else "silent")
        assert gate.fetch(waiting, told) == PICTURE
    assert gate.violations() == (["pinhole.stranger"] if gate.gateway.role.hides_server else [])


def test_nobody_comes_by_it_a_second_time(gate: Site) -> None:
    with gate.talk() as talk, gate.picture() as (waiting, port):
        told = talk.begin().start(port)
        assert gate.fetch(waiting, told) == PICTURE
        assert gate.is_shut(told)


def test_it_leads_to_no_other_host(gate: Site) -> None:
    with gate.talk() as talk, gate.picture() as (_, port), serving(gate.gateway.neighbour, port):
        talk.begin().start(port)
        assert fate(gate.gateway.client, str(gate.gateway.neighbour.v4), port) == "silent"


@pytest.mark.parametrize("request_", [words(Code.CANCEL, 0), words(Code.CLOSE, 0)], ids=["cancel", "close"])
def test_it_goes_with_its_device(gate: Site, request_: bytes) -> None:
    """SA14."""
    with gate.talk() as talk, gate.picture() as (_, port):
        told = talk.begin().start(port)
        talk.ask(request_)
        assert gate.is_shut(told)


def test_it_goes_with_its_session(gate: Site) -> None:
    with gate.talk() as talk, gate.picture() as (_, port):
        told = talk.begin().start(port)
        talk.client.close()
        talk.server.close()
        assert [line["reason"] for line in gate.told("pinhole.closed")] == ["session_closed"]
        assert gate.is_shut(told)


def test_each_device_has_its_own(gate: Site) -> None:
    with gate.talk() as talk, gate.picture() as (one, port), gate.picture() as (other, another):
        talk.begin()
        told = [talk.start(port, 0), talk.start(another, 1)]
        talk.ask(words(Code.CANCEL, 1))
        assert gate.fetch(one, told[0]) == PICTURE
        assert gate.is_shut(told[1])
        other.close()


# -- ports that a server names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [0, 22, 1023, 0x10016, 0xFFFF_FFFF])
def test_no_way_leads_to_a_low_port_or_to_none(gate: Site, port: int) -> None:
    """SA11, SA9."""
    with gate.talk() as talk:
        talk.begin().ask(start())
        talk.server.sendall(started(port))
        assert read(talk.client, 100) == words(11, 0, 0x1234, 0)  # and then the end
        assert is_reset(talk.server)
    assert gate.violations() == ["sane.low_port"]
    assert gate.told("pinhole.opened") == []


@pytest.mark.parametrize("status", [3, 7])
def test_a_status_that_is_not_good_opens_nothing(gate: Site, status: int) -> None:
    """SA4."""
    with gate.talk() as talk, gate.picture() as (_, port):
        talk.begin().ask(start())
        said = words(status, port, 0x1234) + string(None)
        assert talk.answer(said) == said
        assert gate.is_shut(port)
    assert gate.told("pinhole.opened") == []


def test_a_port_that_stands_beside_a_resource_opens_nothing(gate: Site) -> None:
    """SA4, SA5."""
    with gate.talk() as talk, gate.picture() as (_, port):
        talk.begin().ask(start())
        said = words(0, port, 0x1234) + string(b"test")
        assert talk.answer(said) == said
        assert gate.is_shut(port)
    assert gate.told("pinhole.opened") == []


# -- what nobody has asked for -----------------------------------------------------------------------------------------


def test_an_answer_that_nobody_has_asked_for_opens_nothing(gate: Site) -> None:
    """SA8: nor does a true one behind it, though all of it passes."""
    with gate.talk() as talk, gate.picture() as (_, port):
        talk.begin()
        assert talk.answer(started(port)) == started(port)
        assert gate.is_shut(port)
        gate.start_opens_nothing(talk, port)
    assert gate.violations() == ["sane.out_of_turn"]
    assert gate.told("pinhole.opened") == []


def test_a_start_behind_a_request_that_gets_no_answer_opens_nothing(gate: Site) -> None:
    """SA3: saned says nothing to an unknown handle, so that the next answer would be taken for that of this one."""
    with gate.talk() as talk, gate.picture() as (_, port):
        talk.begin().ask(words(Code.GET_PARAMETERS, 4711))
        gate.start_opens_nothing(talk, port)
    assert gate.violations() == ["sane.out_of_turn"]


def test_a_client_that_once_did_not_wait_opens_nothing_any_more(gate: Site) -> None:
    """SA3: saned may have read the second half of that CANCEL as a request, and answers that in place of another."""
    with gate.talk() as talk, gate.picture() as (_, port):
        talk.begin().ask(words(Code.GET_PARAMETERS, 0) + words(Code.CANCEL, Code.CONTROL_OPTION))
        talk.answer(words(*range(7)) + words(0))
        gate.start_opens_nothing(talk, port)
    assert gate.violations() == ["sane.out_of_turn"]


def test_a_browser_that_was_made_to_speak_to_this_port_opens_nothing(gate: Site) -> None:
    """SA8: slipstreaming. START stands in a segment of its own, which is enough for the kernel's helper."""
    head = b"POST / HTTP/1.1\r\nHost: scanner:6566\r\nContent-Length: 8\r\n\r\n"
    with gate.talk() as talk, gate.picture() as (_, port):
        talk.ask(head)
        gate.start_opens_nothing(talk, port)
    assert gate.violations() == ["sane.not_sane"]
    assert gate.told("pinhole.opened") == []


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02", b"GET ", b"EHLO", b"\0\1\0\0", words(Code.START)])
def test_whatever_else_is_spoken_there_passes_and_opens_nothing(gate: Site, said: bytes) -> None:
    with gate.talk() as talk:
        talk.ask(said)
        assert talk.answer(b"anything") == b"anything"
    assert gate.violations() == ["sane.not_sane"]


def test_what_has_no_form_passes_and_opens_nothing_any_more(gate: Site) -> None:
    with gate.talk() as talk, gate.picture() as (_, port):
        talk.begin().ask(words(Code.OPEN, 0xFFFF_FFFF))
        gate.start_opens_nothing(talk, port)
    assert gate.violations() == ["sane.malformed"]


def test_nothing_of_it_is_left(gate: Site) -> None:
    gate.daemon.until(sessions=0, pinholes=0)
    assert gate.daemon.look()["ports_leased"] == 0
