"""RAS: who hears the answers to another port of an endpoint than the one it asks from, and for how long (RA4)."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Transport
from protocols.contract.pinholes import Closed
from protocols.h323.helper import RAS
from protocols.h323.options import RasOptions
from protocols.h323.ras import MAX_PENDING
from protocols.observe import Engines
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, Session, on
from tests.protocols.h323 import messages as m
from tests.protocols.h323.test_ras import CLIENT, ELSEWHERE, INSIDE, KEEPER, OURS, SERVER, Daemon, answering, standing

BOTH = pytest.mark.parametrize("network", ["none", "snat"])


def rrq(number: int = 1) -> bytes:
    return m.rrq(number, [f"{INSIDE}:1720"], ELSEWHERE, seconds=3600)


def rcf(number: int = 1) -> bytes:
    return m.rcf(number, [f"{KEEPER}:1720"], seconds=3600)


def registered(daemon: Daemon, port: int = 40001) -> tuple[Session, Session]:
    """The session of an endpoint that has registered and hears answers elsewhere, and the one in which they come."""
    session = daemon.session(port=port)
    session.receive(CLIENT, rrq())
    answers = answering(daemon)
    answers.receive(CLIENT, rcf())
    return session, answers


@BOTH
def test_an_endpoint_that_begins_anew_hears_the_answers_in_its_new_session(network: str) -> None:
    """Found by review: the old session kept the place, and without NAT the answers, so the endpoint took itself for
    registered, and nobody could call it."""
    daemon = Daemon(network=network)
    old, answers = registered(daemon)
    new = daemon.session(port=40002)
    new.receive(CLIENT, rrq())
    assert old.pinholes.standing == {} and not old.engine.is_needed()
    answers.receive(CLIENT, rcf())  # the gatekeeper's two datagrams have the same addresses, so they are of one flow
    assert [note["aor"] for note in answers.notes("registration.added")] == ["alice", "alice"]
    assert daemon.rules() == []
    old.close()
    assert standing(daemon) == {
        "registrations": 1,
        "registered": 2 if network == "snat" else 1,
        "asking": 1,
        "hearing": 1,
    }
    new.wait(31)
    assert len(new.pinholes.standing) == 2


@BOTH
def test_who_registers_from_another_port_than_it_has_looked_for_its_gatekeeper_hears_both_answers(network: str) -> None:
    daemon = Daemon(network=network)
    looking, asking = daemon.session(port=40001), daemon.session(port=40002)
    looking.receive(CLIENT, m.grq(1, ELSEWHERE))
    answers = answering(daemon)
    answers.receive(CLIENT, m.gcf(1, f"{KEEPER}:1719"))
    asking.receive(CLIENT, rrq())
    assert looking.pinholes.log[1:] == ["close 1"]
    answers.receive(CLIENT, rcf())
    assert len(answers.notes("registration.added")) == 1 and daemon.rules() == []


def test_a_registered_endpoint_that_looks_for_an_alternate_on_the_same_host_still_hears_its_gatekeeper() -> None:
    """Found by review: the place of the registration was closed, and what its gatekeeper said by itself was lost."""
    daemon = Daemon()
    session, answers = registered(daemon)
    looking = daemon.session(port=40001, keeper_port=1729)
    looking.receive(CLIENT, m.grq(1, ELSEWHERE))
    assert len(session.pinholes.standing) == 2 and standing(daemon)["hearing"] == 2
    assert looking.sent(SERVER) == m.grq(1, f"{OURS}:61002")
    beside = answering(daemon, 1729, looking)
    beside.receive(CLIENT, m.gcf(1, f"{KEEPER}:1729"))
    session.receive(CLIENT, m.rrq(2, [], ELSEWHERE, keep_alive=True))
    answers.receive(CLIENT, m.rcf(2, []))
    assert len(answers.notes("registration.refreshed")) == 1
    answers.receive(CLIENT, m.urq(7, []))
    answers.receive(SERVER, m.ucf(7))
    assert len(session.notes("registration.removed")) == 1
    assert (daemon.rules(), session.pinholes.standing, len(looking.pinholes.standing)) == ([], {}, 1)


def test_without_nat_an_endpoint_hears_at_one_address_whom_it_has_asked_last() -> None:
    daemon = Daemon(network="none")
    session, answers = registered(daemon)
    looking = daemon.session(port=40001, keeper_port=1729)
    looking.receive(CLIENT, m.grq(1, ELSEWHERE))
    assert [len(one.pinholes.standing) for one in (session, looking)] == [1, 1]
    answers.receive(CLIENT, m.gcf(1, f"{KEEPER}:1729"))
    assert (daemon.rules(), standing(daemon)["hearing"]) == ([], 1)


@BOTH
def test_two_gatekeepers_answer_to_one_port(network: str) -> None:
    """It asks both at once, and hears who answers first."""
    daemon = Daemon(network=network)
    for keeper in (KEEPER, "203.0.113.8"):
        daemon.session(keeper=keeper).receive(CLIENT, m.grq(1, ELSEWHERE))
    assert [len(session.pinholes.standing) for session in daemon.sessions] == [1, 1]


def test_requests_that_end_together_end_with_the_session_that_the_first_of_them_ends() -> None:
    """The session in which answers come has the clock of the one that has asked. That one lingers for a place which the
    end of its first request closes, so it is over before the second one is looked at."""
    daemon = Daemon()
    session = daemon.session()
    session.receive(CLIENT, rrq(1))
    session.receive(CLIENT, m.urq(2, []))
    answers = answering(daemon)
    session.close()
    assert session.engine.is_needed()
    answers.now = session.now = 30.0
    assert answers.engine.tick(30.0) == []
    assert session.is_dissolved and session.pinholes.standing == {}
    assert standing(daemon) == {}


def test_a_request_whose_room_costs_the_session_its_last_registration_begins_nothing() -> None:
    """The same where the oldest request makes room: nobody would close what an ended session opens."""
    daemon = Daemon(RasOptions(rate=1000))
    session = daemon.session()
    session.receive(CLIENT, rrq(1))
    answers = answering(daemon)
    for number in range(2, MAX_PENDING + 1):
        session.receive(CLIENT, m.urq(number, []))
    session.close()
    answers.receive(SERVER, rrq(1000))
    assert session.is_dissolved and session.pinholes.standing == {}
    assert (standing(daemon), answers.sent(CLIENT)) == ({}, b"")


def closed_by_operator(session: Session) -> None:
    grant = session.pinholes.opened[0]
    del session.pinholes.standing[grant.id]
    session.engine.pinhole(grant, Closed("closed_by_operator", 0, 0, 1.0), session.now)


def not_agreed_that_it_ends(session: Session) -> None:
    session.receive(CLIENT, m.urq(2, []))
    session.wait(30)


def ended_by_another(session: Session) -> None:
    session.receive(CLIENT, m.urq(2, []))
    session.receive(SERVER, m.ucf(2))


@pytest.mark.parametrize("end", [closed_by_operator, not_agreed_that_it_ends, ended_by_another])
def test_the_place_for_answers_goes_with_the_last_registration(end: object) -> None:
    """Found by review: it stayed for its own time, a week at most, unless a UCF had passed."""
    daemon = Daemon()
    session, _ = registered(daemon)
    assert callable(end)
    end(session)
    assert session.pinholes.standing == {} and not session.engine.is_needed()
    session.close()
    assert standing(daemon) == {}


def test_watched_sessions_end_each_by_itself_though_nothing_keeps_their_places_apart() -> None:
    """Found by the search: where nothing stands, two places may have one address, and the end of the first session took
    the entry of the second one."""
    engines, sessions = Engines(RAS), list[Session]()
    for port, asked in ((1719, rrq()), (1729, m.grq(1, ELSEWHERE))):
        peers, pinholes = on(NETWORKS["snat"], RAS, Transport.UDP, 40001, port), FakePinholes()
        session = Session(engines(peers, RAS.options(mode="observe"), pinholes, 0.0), pinholes, engines)
        session.receive(CLIENT, asked)
        sessions.append(session)
    assert engines.standing()["hearing"] == 1
    for session in sessions:
        session.dissolve()
    assert not any(engines.standing().values())
