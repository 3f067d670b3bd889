"""How long a redirected session lives: past its pinhole's time, past the first connection, to its own idle limit; and
what becomes of it when its listener, its first session or the daemon fails (T24, T25, T30, T32, X24)."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.netns.connections import read_all
from tests.netns.ftp_talk import fate
from tests.netns.namespaces import needs_root
from tests.netns.tns_site import Site, site
from tests.netns.tns_talk import Listener, calling, ending, listening, passes, redirected, to
from tools.lab import Host
from tools.peers.tns_packets import accept, connect

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

OPEN_SECONDS = 1.0
"""On a busy machine a client may take half of this to come."""
QUICK = f"timeouts: {{pinhole_open: {OPEN_SECONDS}, connect: 1}}"
UNHURRIED = "timeouts: {pinhole_open: 5, connect: 1}"
"""For clients that do something else before they come."""
LINGER_RESET = struct.pack("ii", 1, 0)
PORT = 21522
FIRST = "198.51.100.2:1521"


@pytest.fixture(scope="module", params=["none", "interface"])
def unhurried(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param, more=UNHURRIED) as unhurried:
        yield unhurried


@pytest.fixture
def gate(unhurried: Site) -> Iterator[Site]:
    with unhurried.one_test() as gate:
        yield gate


class First(NamedTuple):
    """A first connection whose client has been sent on."""

    client: socket.socket
    where: tuple[str, int]
    listener: Listener

    def end(self, how: str = "closed") -> None:
        """By the client; its listener then does the same."""
        if how == "reset":
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self.client.close()
        served = self.listener.take()
        assert ending(served) == how
        served.close()


@contextlib.contextmanager
def sent_on(gate: Site, by: Host | None = None, port: int = PORT) -> Iterator[First]:
    host = by or gate.server
    with listening(host, to(host.v4, port)) as listener, calling(gate.client, (str(host.v4), 1521)) as client:
        yield First(client, redirected(client), listener)


@contextlib.contextmanager
def established(gate: Site) -> Iterator[tuple[First, socket.socket, socket.socket]]:
    """A redirected session past ACCEPT: what came before it, its client, its server."""
    with (
        listening(gate.server, accept(), PORT) as second,
        sent_on(gate) as first,
        calling(gate.client, first.where, connect(flags=4)) as client,
    ):
        read_all(client, len(accept()))
        yield first, client, second.take()


def let_pinholes_expire(gate: Site, count: int) -> None:
    """Time goes by, in units of a pinhole's: one after the other is opened, and nobody comes."""
    for _ in range(count):
        expired = len(gate.daemon.audit("pinhole.closed", reason="never_used"))
        with sent_on(gate, gate.lab.server_stranger):
            gate.daemon.wait_for("pinhole.closed", count=expired + 1, reason="never_used")


def first_has_ended(gate: Site) -> None:
    lines = gate.daemon.audit()[: gate.before]
    before = sum(line["event"] == "session.closed" and line["server"] == FIRST for line in lines)
    gate.daemon.wait_for("session.closed", count=before + 1, server=FIRST)


# -- silence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snat", ["none", "interface"])
def test_a_redirected_session_that_is_silent_for_longer_than_its_pinhole_stood_is_alive(snat: str) -> None:
    """Sessions may be idle for a day."""
    with site(snat, more=QUICK) as gate, gate.one_test():
        with established(gate) as (first, client, server):
            first.end()
            let_pinholes_expire(gate, 3)
            assert passes(client, server)
        (last,) = (line for line in gate.told("session.closed") if line["server"] == f"{gate.server.v4}:{PORT}")
        assert last["duration_seconds"] > 3 * OPEN_SECONDS
        assert last["reason"] in ("finished", "reset_by_client")


ANSWERED = f"timeouts: {{pinhole_open: {OPEN_SECONDS}, connect: 1, silent: %d}}"
"""A session is over after so many seconds of silence, though both of its ends answer keep-alives."""


@pytest.mark.parametrize("kind", ["accepted", "redirected", "TLS"])
def test_a_session_whose_ends_answer_keep_alives_is_not_dead(kind: str) -> None:
    """A pool over a weekend."""
    with site(options="idle: 2", more=QUICK) as gate, gate.one_test(), contextlib.ExitStack() as stack:
        if kind == "redirected":
            _, client, server = stack.enter_context(established(gate))
        else:
            listener = stack.enter_context(listening(gate.server, accept() if kind == "accepted" else None))
            client = stack.enter_context(gate.calling(None if kind == "accepted" else b"\x16\x03\x01"))
            server = listener.take()
            read_all(*((client, len(accept())) if kind == "accepted" else (server, 3)))
        let_pinholes_expire(gate, 6)
        assert passes(client, server)


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_session_of_which_one_end_has_vanished_is_dead(who: str) -> None:
    with site(options="idle: 4", more=QUICK) as gate, established(gate) as (_, client, server):
        gone = gate.client if who == "client" else gate.server
        gone.run(["ip", "link", "set", "eth0", "down"])
        closed = gate.daemon.wait_for("session.closed", server=f"{gate.server.v4}:{PORT}")
        assert closed["reason"] in ("idle", f"reset_by_{who}")
        assert ending(server if who == "client" else client) == "reset"


def is_over_by_silence(gate: Site, client: socket.socket, server: socket.socket, seconds: float) -> None:
    """Closed at both ends, and logged."""
    assert ending(client) == ending(server) == "reset"
    closed = gate.daemon.wait_for("session.closed", reason="idle", server=f"{gate.server.v4}:{PORT}")
    assert seconds <= closed["duration_seconds"]
    sent = (len(connect(flags=4)), len(accept()))
    assert (closed["bytes_from_client"] - sent[0], closed["bytes_from_server"] - sent[1]) in ((6, 9), (12, 18))


def test_one_that_is_silent_beyond_its_own_idle_limit_is_closed_at_both_ends_and_logged() -> None:
    """A session of the same policy that no redirect has brought about goes on: that limit is not its own."""
    neighbour = ("198.51.100.3", 1521)
    with (
        site(options="redirect_idle: 2", more=ANSWERED % 2) as gate,
        gate.one_test(),
        listening(gate.lab.server_stranger, accept()) as other,
        calling(gate.client, neighbour) as plain,
        established(gate) as (_, client, server),
    ):
        read_all(plain, len(accept()))
        assert passes(client, server)
        is_over_by_silence(gate, client, server, 2)
        assert passes(plain, other.take())


def test_without_a_limit_of_its_own_that_of_its_policy_holds_and_bytes_renew_it() -> None:
    """Not the time in which its pinhole had to be used."""
    with site(options="idle: 3", more=ANSWERED % 3) as gate, gate.one_test(), established(gate) as (_, client, server):
        for _ in range(2):  # each takes a second or two, and not three
            let_pinholes_expire(gate, 1)
            assert passes(client, server)
        is_over_by_silence(gate, client, server, 3 + 2 * OPEN_SECONDS)


# -- the first connection ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_client_that_ends_the_first_connection_before_it_begins_the_second_gets_in(gate: Site, how: str) -> None:
    with listening(gate.server, accept(), PORT) as second, sent_on(gate) as first:
        first.end(how)
        first_has_ended(gate)
        with calling(gate.client, first.where, connect(flags=4)) as client:
            read_all(client, len(accept()))
            assert passes(client, second.take())


def test_the_redirected_session_outlives_the_first_connection(gate: Site) -> None:
    with established(gate) as (first, client, server):
        assert passes(client, server)
        first.end()
        first_has_ended(gate)
        assert passes(client, server)


def test_the_first_connection_may_stay_until_the_end(gate: Site) -> None:
    """As python-oracledb in asyncio mode has it; it outlives the session that came of it."""
    with listening(gate.server, accept(), PORT) as second, sent_on(gate) as first:
        with calling(gate.client, first.where, connect(flags=4)) as client:
            read_all(client, len(accept()))
            served = second.take()
            assert passes(client, served)
        served.close()
        gate.daemon.wait_for("session.closed", server=f"198.51.100.2:{PORT}")
        first.client.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.client.recv(1)


def test_a_listener_that_goes_away_after_its_redirect_takes_nothing_with_it(gate: Site) -> None:
    with listening(gate.server, accept(), PORT) as second, contextlib.ExitStack() as stack:
        first = stack.enter_context(listening(gate.server, to(gate.server.v4, PORT)))
        client = stack.enter_context(gate.calling())
        where = redirected(client)
        first.close()
        assert ending(client) == "closed"
        with calling(gate.client, where, connect(flags=4)) as again:
            read_all(again, len(accept()))
            assert passes(again, second.take())


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_redirect_to_a_port_on_which_nobody_listens_is_a_reset_for_the_client(gate: Site) -> None:
    with sent_on(gate) as first:
        assert fate(gate.client, *first.where) == "reset"
    assert [line["reason"] for line in gate.told("session.failed")] == ["server_refused"]


def test_a_redirect_to_a_host_that_is_not_there_is_a_reset_for_the_client(gate: Site) -> None:
    with listening(gate.server, to("198.51.100.99", PORT)), gate.calling() as client:
        assert fate(gate.client, *redirected(client)) == "reset"
    (failed,) = gate.told("session.failed")
    assert failed["reason"] in ("server_timeout", "server_unreachable")
    assert failed["dialled"] == f"198.51.100.99:{PORT}"


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_an_end_at_one_side_is_an_end_at_the_other(gate: Site, who: str, how: str) -> None:
    with established(gate) as (_, client, server):
        one, other = (client, server) if who == "client" else (server, client)
        if how == "reset":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        one.close()
        assert ending(other) == how


def test_a_client_that_ends_while_a_redirect_is_incomplete_leaves_nothing(gate: Site) -> None:
    whole = to(gate.server.v4, PORT)
    with listening(gate.server, whole[:30]) as listener:
        with gate.calling():
            served = listener.take()
        with contextlib.suppress(OSError):
            served.sendall(whole[30:])
        assert ending(served) in ("closed", "reset")
    # Whether the client's end or the rest came first: there is no pinhole that outlives its time.
    assert {line["reason"] for line in gate.told("pinhole.closed")} <= {"never_used", "session_closed"}


def test_killed_in_the_midst_all_is_reset_and_gone_and_it_serves_again_afterwards() -> None:
    with site() as gate:
        neighbour = gate.lab.server_stranger
        with (
            established(gate) as (first, client, server),
            listening(neighbour, accept(), PORT) as unused,
            sent_on(gate, neighbour) as waiting,
        ):
            assert len(listening_sockets(gate)) == 4  # two for sessions, two of the pinhole in another's place
            gate.daemon.signal(signal.SIGKILL)
            gate.daemon.wait()
            assert listening_sockets(gate) == []
            assert ending(client) == ending(server) == "reset"
            assert ending(first.client) in ("closed", "reset")
            assert fate(gate.client, *waiting.where) in ("silent", "refused")
            assert not unused.was_reached
        gate.daemon.start()
        with established(gate) as (_, client, server):
            assert passes(client, server)
        gate.daemon.until(sessions=0, pinholes=0, ports_leased=0)


def listening_sockets(gate: Site) -> list[str]:
    listening: list[str] = gate.lab.gateway.run(["ss", "-Htln"]).stdout.splitlines()
    return listening


def test_asked_to_stop_it_ends_a_redirected_session_in_order() -> None:
    with site(more="timeouts: {drain: 0.3}") as gate, established(gate) as (_, client, server):
        gate.daemon.signal(signal.SIGTERM)
        assert gate.daemon.wait() == 0
        assert ending(client) == ending(server) == "reset"
        assert gate.daemon.audit("session.closed", reason="stopped")


@pytest.mark.parametrize("first", ["open", "closed"])
def test_asked_to_stop_while_a_redirected_client_is_awaited_it_stops_in_order(first: str) -> None:
    with site() as gate, contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(gate.server, to(gate.server.v4, PORT)))
        client = stack.enter_context(gate.calling())
        redirected(client)
        if first == "closed":
            client.close()
            served = listener.take()
            assert ending(served) == "closed"
            served.close()
            gate.daemon.wait_for("session.closed")
        gate.daemon.signal(signal.SIGTERM)
        assert gate.daemon.wait(10) == 0
        events = [line["event"] for line in gate.daemon.audit()]
        assert events[-1] == "daemon.stopped"
        assert events.count("session.opened") == events.count("session.closed") == 1
        assert events.count("pinhole.opened") == events.count("pinhole.closed") == 1
