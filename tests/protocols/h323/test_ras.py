"""RAS: what sessions of one daemon have to do with each other, which transcripts of one session cannot say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Close
from protocols.h323.helper import RAS, H323Engines
from protocols.h323.options import H323Options, RasOptions
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, Session, on
from tests.protocols.h323 import messages as m
from tests.protocols.h323.calls import Calls

CLIENT, SERVER = Side.CLIENT, Side.SERVER
INSIDE, BESIDE, OURS, KEEPER = "10.1.0.2", "10.1.0.3", "198.51.100.1", "203.0.113.7"


@dataclass
class Daemon:
    """Sessions of RAS that share registrations and calls."""

    options: RasOptions = field(default_factory=RasOptions)
    network: str = "snat"
    engines: H323Engines = field(default_factory=H323Engines)
    sessions: list[Session] = field(default_factory=list)

    def session(self, host: str = INSIDE, port: int = 1719, keeper: str = KEEPER, keeper_port: int = 1719) -> Session:
        """That of an endpoint at this host, which asks from this port, with its gatekeeper."""
        peers = on(NETWORKS[self.network], RAS, Transport.UDP, port, keeper_port)
        at, seen = Endpoint(ip_address(host), port), peers.client_as_seen
        to = replace(peers.server, host=ip_address(keeper))
        seen = seen if peers.is_mapped(CLIENT) else at
        peers = replace(peers, client=at, client_as_seen=seen, server=to, server_as_seen=to)
        pinholes = FakePinholes(self.sessions[0].pinholes if self.sessions else None)
        engine = self.engines(peers, self.options, pinholes, 0.0)
        daemon = self.sessions[0].daemon if self.sessions else []
        self.sessions.append(Session(engine, pinholes, self.engines, daemon=daemon))
        return self.sessions[-1]

    def rules(self) -> list[str]:
        return [rule for session in self.sessions for rule in session.violations()]


def registered(session: Session, at: str, number: int = 1, seconds: int = 60, *, port: int = 1719) -> None:
    """The endpoint is called at this address of its own, as its gatekeeper has agreed. It asks from this port."""
    ras = f"{at.partition(':')[0]}:{port}"
    session.receive(CLIENT, m.rrq(number, [at], ras, seconds=seconds))
    session.receive(SERVER, m.rcf(number, [f"{KEEPER}:1720"], seconds=seconds))


def standing(daemon: Daemon) -> dict[str, int]:
    """What sessions have in common: no other kinds."""
    return {kind: number for kind, number in daemon.engines.standing().items() if number}


def test_answers_of_a_gatekeeper_that_has_many_endpoints_are_not_counted() -> None:
    """Found by review: all sessions of a gatekeeper had one rate, and its answers are not repeated."""
    daemon = Daemon(RasOptions(rate=2))
    for host in (INSIDE, BESIDE):
        session = daemon.session(host)
        for number in (1, 2):
            registered(session, f"{host}:1720", number)
    assert daemon.rules() == []
    assert len([note for session in daemon.sessions for note in session.notes("registration.refreshed")]) == 2


def test_requests_take_nothing_from_the_rate_of_calls() -> None:
    """Found by review: an endpoint that had just registered could not call."""
    daemon = Daemon()
    session = daemon.session()
    for number in (1, 2):
        registered(session, f"{INSIDE}:1720", number)
    calls = Calls(options=H323Options(rate=1), engines=daemon.engines)
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:1720"))
    assert calls.rules() == []


def told_to_call(session: Session, at: str, number: int = 1) -> None:
    """The endpoint asks for a call, and its gatekeeper says where that goes."""
    session.receive(CLIENT, m.arq(number))
    session.receive(SERVER, m.acf(number, at))


def test_who_was_told_to_call_an_endpoint_may_do_so_for_a_minute() -> None:
    """RA14, `callers: admitted`. Found by review: who was admitted stayed so once the registration was refreshed, and
    no clock of the endpoint's session ran for what another session had brought about."""
    daemon = Daemon(RasOptions(callers="admitted"))
    called, calling = daemon.session(), daemon.session("10.1.0.9")
    registered(called, f"{INSIDE}:1720", seconds=600)
    told_to_call(calling, f"{OURS}:61000")
    assert called.pinholes.log[-1] == f"renew 1 from {KEEPER}, 10.1.0.9 for 630 s"
    assert calling.sent(CLIENT) == m.acf(1, f"{OURS}:61000")  # not the caller's own, though it has the same host
    assert calling.engine.is_needed()
    called.wait(30)
    registered(called, f"{INSIDE}:1720", 2, seconds=600)
    assert called.pinholes.log[-1] == f"renew 1 from {KEEPER}, 10.1.0.9 for 630 s"
    assert calling.engine.deadline() == 60  # its own: nothing happens in the session of the endpoint
    calling.wait(30)
    assert called.pinholes.log[-1] == f"renew 1 from {KEEPER} for 600 s"
    assert not calling.engine.is_needed()


def test_who_is_told_again_may_call_for_another_minute_whoever_was_told_before() -> None:
    """Two endpoints behind one address are one caller."""
    daemon = Daemon(RasOptions(callers="admitted"))
    called, one, other = daemon.session(), daemon.session("10.1.0.9"), daemon.session("10.1.0.9", 1800)
    registered(called, f"{INSIDE}:1720", seconds=600)
    told_to_call(one, f"{OURS}:61000")
    one.wait(50)
    told_to_call(other, f"{OURS}:61000")
    one.wait(59)
    assert called.pinholes.log[-1].startswith(f"renew 1 from {KEEPER}, 10.1.0.9")
    one.wait(1)
    assert called.pinholes.log[-1] == f"renew 1 from {KEEPER} for 520 s"


def test_nobody_else_is_admitted_for_being_told_to_call() -> None:
    """`callers: gatekeeper`, and an endpoint whose gatekeeper has not agreed yet."""
    daemon = Daemon()
    called, calling = daemon.session(), daemon.session("10.1.0.9")
    registered(called, f"{INSIDE}:1720", seconds=600)
    before = list(called.pinholes.log)
    told_to_call(calling, f"{OURS}:61000")
    assert called.pinholes.log == before and not calling.engine.is_needed()
    daemon = Daemon(RasOptions(callers="admitted"))
    called, calling = daemon.session(), daemon.session("10.1.0.9")
    called.receive(CLIENT, m.rrq(1, [f"{INSIDE}:1720"], f"{INSIDE}:1719"))
    told_to_call(calling, f"{OURS}:61000")
    assert not any(line.startswith("renew") for line in called.pinholes.log)


def test_an_admission_ends_with_the_session_that_was_told() -> None:
    daemon = Daemon(RasOptions(callers="admitted"))
    called, calling = daemon.session(), daemon.session("10.1.0.9")
    registered(called, f"{INSIDE}:1720", seconds=600)
    told_to_call(calling, f"{OURS}:61000")
    calling.dissolve()
    assert called.pinholes.log[-1] == f"renew 1 from {KEEPER} for 630 s"


@pytest.mark.parametrize(("network", "names"), [("none", 1), ("snat", 2)])
def test_an_endpoint_that_begins_anew_is_called_by_its_new_registration(network: str, names: int) -> None:
    """Found by review: it asks from another port, so in another session, and its place was taken by the old one until
    that had run out; then what the old one knew took the names of the new one along."""
    daemon = Daemon(network=network)
    old = daemon.session()
    registered(old, f"{INSIDE}:1720")
    new = daemon.session(port=1800)
    registered(new, f"{INSIDE}:1720", seconds=120, port=1800)
    assert old.pinholes.log[-1] == "close 1"
    assert [note["contact"] for note in old.notes("registration.removed")] == [Endpoint(ip_address(INSIDE), 1720)]
    assert new.pinholes.log[1:] == [f"renew 2 from {KEEPER} for 150 s", "confirm 2"]
    assert not old.engine.is_needed()
    old.close()
    assert standing(daemon) == {"registrations": 1, "registered": names}
    new.wait(150)
    assert set(daemon.engines.standing().values()) == {0}


def test_an_endpoint_of_two_gatekeepers_has_a_place_for_each() -> None:
    """With NAT there is room for both. The end of one takes nothing from the other."""
    daemon = Daemon()
    one, other = daemon.session(), daemon.session(port=1800, keeper="203.0.113.8")
    for session, port in ((one, 1719), (other, 1800)):
        registered(session, f"{INSIDE}:1720", port=port)
    assert not any(line.startswith("close") for line in one.pinholes.log)
    one.receive(CLIENT, m.urq(2, [f"{INSIDE}:1720"]))
    one.receive(SERVER, m.ucf(2))
    assert one.pinholes.log[-1] == "close 1"
    assert standing(daemon) == {"registrations": 1, "registered": 2}


def test_an_alternate_that_an_endpoint_goes_to_may_call_it_at_once() -> None:
    """Without NAT an endpoint has one place, its own, and whom it asked last may come to it."""
    daemon = Daemon(network="none")
    one, other = daemon.session(), daemon.session(port=1800, keeper="203.0.113.8")
    for session, port in ((one, 1719), (other, 1800)):
        registered(session, f"{INSIDE}:1720", port=port)
    assert one.pinholes.log[-1] == "close 1"
    assert other.pinholes.log[1:] == ["renew 2 from 203.0.113.8 for 90 s", "confirm 2"]


def test_who_is_told_twice_to_call_calls_twice() -> None:
    """Found by review: two calls that a gateway begins at once had one way, for one connection."""
    daemon = Daemon(network="none")
    session = daemon.session()
    told_to_call(session, f"{KEEPER}:4000")
    assert session.pinholes.log == [
        f"open tcp for {KEEPER}:4000 from {INSIDE} as {INSIDE} uses any for 60 s read = {KEEPER}:4000"
    ]
    session.wait(10)
    told_to_call(session, f"{KEEPER}:4000", 2)
    for _ in range(2):
        session.use(1)
    assert session.pinholes.log[1:] == [f"renew 1 from {INSIDE} for 60 s"]


def test_a_gatekeeper_sends_callers_to_hosts_that_an_option_names_and_no_others() -> None:
    """RA15: where it names some, those that are reached as the gatekeeper is are no longer among them. Its own host
    needs no name."""
    daemon = Daemon(RasOptions(call_targets=(ip_network("203.0.113.8/31"),)), network="none")
    session = daemon.session()
    for number, target in enumerate((f"{KEEPER}:4000", "203.0.113.9:4000", "203.0.113.10:4000"), 1):
        told_to_call(session, target, number)
    assert [line.split()[3] for line in session.pinholes.log] == [f"{KEEPER}:4000", "203.0.113.9:4000"]
    assert session.notes("violation") == [
        {"rule": "ras.elsewhere", "detail": "admissionConfirm: 203.0.113.10:4000", "action": "not opened"}
    ]


def test_a_port_to_register_at_is_none_to_call() -> None:
    """Found by review: a way by UDP was taken for one by TCP."""
    daemon = Daemon(network="none")
    session = daemon.session()
    session.receive(CLIENT, m.grq(1, f"{INSIDE}:1719"))
    session.receive(SERVER, m.gcf(1, f"{KEEPER}:4000"))
    told_to_call(session, f"{KEEPER}:4000", 2)
    assert [line.split()[1] for line in session.pinholes.log] == ["udp", "tcp"]


def test_an_endpoint_is_left_alone_whichever_of_its_features_stands_first_until_it_offers_none() -> None:
    """HF62. Found by review: the first feature alone was looked at, and of what followed half was mapped."""
    daemon = Daemon(RasOptions(traversal="pass"))
    session = daemon.session()
    at, ras = f"{INSIDE}:1720", f"{INSIDE}:1719"
    said = [
        m.rrq(1, [at], ras, features=[9, 19, 18]),
        m.rrq(2, [], ras, keep_alive=True),
        m.arq(3, at),
    ]
    for message in said:
        session.receive(CLIENT, message)
    session.receive(SERVER, m.rcf(1, [f"{KEEPER}:1720"]))
    assert session.sent(SERVER) == b"".join(said)
    assert (session.pinholes.log, session.violations()) == ([], [])
    assert [note["features"] for note in session.notes("h323.traversal")] == [[18, 19]]
    registered(session, at, 4)
    assert session.pinholes.log[-1] == "confirm 1"


@pytest.mark.parametrize("elsewhere", [f"{INSIDE}:22", f"{BESIDE}:2000"])
def test_answers_to_a_low_port_or_another_host_find_no_way(elsewhere: str) -> None:
    """RA4."""
    session = Daemon().session()
    for message in (m.grq(1, elsewhere), m.rrq(2, [], elsewhere), m.lrq(3, elsewhere)):
        session.receive(CLIENT, message)
    assert (session.violations(), session.pinholes.log) == (["ras.elsewhere"] * 3, [])


ELSEWHERE = f"{INSIDE}:2000"


@pytest.mark.parametrize("ask", [m.grq, m.lrq, lambda number, ras: m.rrq(number, [], ras)])
def test_answers_to_another_port_of_the_asker_have_a_place_for_half_a_minute(ask: Callable[[int, str], bytes]) -> None:
    """RA4: for who was asked alone; one, however often it is named."""
    session = Daemon().session()
    for number in (1, 2):
        session.receive(CLIENT, ask(number, ELSEWHERE))
    assert session.sent(SERVER) == ask(1, f"{OURS}:61000") + ask(2, f"{OURS}:61000")
    opened = f"open udp for {ELSEWHERE} from {KEEPER} as None uses any for 30 s read = {OURS}:61000"
    assert session.pinholes.log == [opened]
    session.wait(30)
    assert session.pinholes.log == [opened, "close 1"]


def answering(daemon: Daemon, port: int = 1719, asked: Session | None = None) -> Session:
    """The session in which the gatekeeper answers to another port of the endpoint, as the pinhole of it lets it in.
    asked: the session that has asked, which is the first one if nothing else is said."""
    asked = asked or daemon.sessions[0]
    grant = next(one for one in asked.pinholes.expected() if one.expect.transport is Transport.UDP)
    assert grant.expect.reader is not None
    keeper = Endpoint(ip_address(KEEPER), port)
    peers = Peers(keeper, keeper, grant.expect.target, grant.listen, Transport.UDP, grant.expect.reader.role)
    pinholes = FakePinholes(asked.pinholes)
    daemon.sessions.append(Session(daemon.engines(peers, daemon.options, pinholes, 0.0), pinholes, daemon.engines))
    daemon.sessions[-1].daemon[:] = []
    daemon.sessions[-1].daemon = asked.daemon
    asked.daemon.append(daemon.sessions[-1])
    return daemon.sessions[-1]


@pytest.mark.parametrize("network", ["none", "snat"])
def test_an_endpoint_that_hears_answers_at_another_port_is_registered_by_them(network: str) -> None:
    """RA4: as long as the registration lives; and a gatekeeper that unregisters it is heard there."""
    daemon = Daemon(network=network)
    session = daemon.session()
    session.receive(CLIENT, m.rrq(1, [f"{INSIDE}:1720"], ELSEWHERE, seconds=600))
    answers = answering(daemon)
    answers.receive(CLIENT, m.rcf(1, [f"{KEEPER}:1720"], seconds=600))
    assert answers.sent(SERVER) == m.rcf(1, [f"{KEEPER}:1720"], seconds=600)
    assert session.pinholes.log[2:] == [
        f"renew 2 from {KEEPER} for 630 s", f"renew 1 from {KEEPER} for 630 s", "confirm 1",
    ]  # fmt: skip
    assert [note["aor"] for note in answers.notes("registration.added")] == ["alice"]
    answers.receive(CLIENT, m.urq(7, []))
    answers.receive(SERVER, m.ucf(7))
    assert answers.sent(CLIENT) == m.ucf(7)
    assert session.pinholes.log[5:] == ["close 1", "close 2"]
    assert daemon.rules() == [] and not session.engine.is_needed()


def test_answers_mean_nothing_when_the_session_is_over_that_has_asked() -> None:
    daemon = Daemon()
    session = daemon.session()
    session.receive(CLIENT, m.rrq(1, [f"{INSIDE}:1720"], ELSEWHERE))
    answers = answering(daemon)
    session.dissolve()
    answers.receive(CLIENT, m.rcf(1, [f"{KEEPER}:1720"]))
    assert (answers.effects, answers.sent(SERVER)) == ([Close("no_session")], b"")
    assert set(daemon.engines.standing().values()) == {0}


@pytest.mark.parametrize("beside", [10, 400])
def test_the_end_of_a_registration_takes_no_longer_beside_many_others(beside: int) -> None:
    """Found by counting: every other one of the session was looked at, and again when the pinhole was closed."""
    daemon = Daemon(RasOptions(rate=10_000))
    session = daemon.session()
    registered(session, f"{INSIDE}:1720", 1)
    for number in range(beside):
        registered(session, f"{INSIDE}:{2000 + number}", 2 + number)
    called = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal called
        called += event in ("call", "c_call")

    sys.setprofile(count)
    session.engine.receive(CLIENT, m.urq(1000, [f"{INSIDE}:1720"]), 0.0)
    session.engine.receive(SERVER, m.ucf(1000), 0.0)
    sys.setprofile(None)
    assert session.pinholes.log[-1] == "close 1"
    assert called < 600
