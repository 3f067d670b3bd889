"""What transcripts of PPTP cannot say: what several connections share, ends from outside, and copies."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.contract.addresses import Side, Transport
from protocols.contract.effects import Abort, Copy, Effect, Send
from protocols.contract.engine import Shares
from protocols.observe import Engines
from protocols.pptp.engine import HELPER, MOST_NOTED
from protocols.pptp.options import PptpOptions
from tests.harness import pptp_messages as pptp
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, Session, on

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def begun(network: str = "snat", **options: Any) -> Session:
    """A connection whose sides have greeted each other."""
    session = Session.of(HELPER, on(NETWORKS[network], HELPER, Transport.TCP), PptpOptions(**options))
    session.receive(CLIENT, pptp.start_request())
    session.receive(SERVER, pptp.start_reply())
    return session


def last(session: Session, to: Side) -> bytes:
    return [effect.data for effect in session.effects if isinstance(effect, Send) and effect.to is to][-1]


def called(session: Session, number: int, servers: int) -> int:
    session.receive(CLIENT, pptp.outgoing_request(number))
    known = int.from_bytes(last(session, SERVER)[12:14], "big")
    session.receive(SERVER, pptp.outgoing_reply(servers, known))
    return known


@pytest.mark.parametrize("network", ["none", "snat", "dnat"])
def test_every_message_is_written_in_the_ids_of_its_reader(network: str) -> None:
    """PP9, PP20: both ends have ids that are not those of the other one."""
    session = begun(network)
    known = called(session, 0x1111, 0x2222)
    is_mapped = network == "snat"
    assert (known != 0x1111) is is_mapped
    for side, said, heard in (
        (SERVER, pptp.link_info(known), pptp.link_info(0x1111)),
        (CLIENT, pptp.link_info(0x2222), pptp.link_info(0x2222)),
        (SERVER, pptp.wan_error(known), pptp.wan_error(0x1111)),
        (CLIENT, pptp.clear(0x1111), pptp.clear(known)),
        (SERVER, pptp.disconnect(0x2222), pptp.disconnect(0x2222)),
    ):
        session.receive(side, said)
        assert last(session, side.other) == heard
    assert session.violations() == []


def test_the_last_messages_of_a_call_may_cross_each_other() -> None:
    session = begun()
    known = called(session, 5, 9)
    session.receive(SERVER, pptp.disconnect(9))
    session.receive(CLIENT, pptp.clear(5))
    assert last(session, SERVER) == pptp.clear(known)
    session.receive(SERVER, pptp.link_info(known))
    assert last(session, CLIENT) == pptp.link_info(5)
    assert session.violations() == []


def test_a_client_has_so_many_calls_in_all_its_connections() -> None:
    engines, network = Engines(HELPER), on(NETWORKS["snat"], HELPER, Transport.TCP)
    sessions: list[Session] = []
    for _ in range(3):
        pinholes = FakePinholes(sessions[0].pinholes if sessions else None)
        engine = engines(network, PptpOptions(calls=2), pinholes, 0.0)
        sessions.append(Session(engine, pinholes, engines))
    for number, session in enumerate(sessions):
        for call in (1, 2, 3):
            session.receive(CLIENT, pptp.outgoing_request(number * 10 + call))
    assert [len(session.pinholes.standing) for session in sessions] == [2, 2, 0]
    assert [session.violations() for session in sessions] == [["pptp.too_many_calls"] * n for n in (1, 1, 3)]
    assert last(sessions[2], CLIENT)[:18] == pptp.outgoing_reply(0, 23, 2, 4)[:18]
    assert isinstance(engines, Shares) and engines.standing() == {"calls": 4}
    for session in sessions:
        session.close()
    assert engines.standing() == {"calls": 0}


def test_refused_and_cleared_calls_count_no_more() -> None:
    """PP13: a redial does not run out of them."""
    session = begun(calls=1)
    for number in range(40):
        known = called(session, number, number)
        session.receive(SERVER, pptp.disconnect(number))
        session.receive(CLIENT, pptp.outgoing_request(1000 + number))
        known = int.from_bytes(last(session, SERVER)[12:14], "big")
        session.receive(SERVER, pptp.outgoing_reply(0, known, 4))
    assert session.violations() == [] and session.pinholes.standing == {}


def test_an_end_from_outside_is_told_to_both_ends_of_either_kind_of_call() -> None:
    session = begun()
    session.receive(SERVER, pptp.incoming_request(7))
    session.receive(CLIENT, pptp.incoming_reply(9, 7))
    known = int.from_bytes(last(session, SERVER)[12:14], "big")
    (first, _) = session.pinholes.standing
    session.end(first, 320, 160, "closed_by_operator")
    assert last(session, CLIENT) == pptp.disconnect(7, 3)
    assert last(session, SERVER) == pptp.clear(known)
    (ended,) = session.notes("pptp.ended")
    assert (ended["packets_from_client"], ended["packets_from_server"]) == (2, 1)


def test_a_tunnel_that_nothing_stands_for_any_more_is_told_to_nobody_who_has_ended() -> None:
    session = begun()
    called(session, 5, 9)
    session.close()
    assert [note["cause"] for note in session.notes("pptp.ended")] == ["control_lost"]
    assert session.pinholes.standing == {}


def test_behind_an_end_messages_pass_and_open_nothing() -> None:
    session = begun()
    session.eof(CLIENT)
    session.receive(SERVER, pptp.incoming_request(7))
    assert last(session, CLIENT) == pptp.incoming_request(7)
    assert session.pinholes.log == []


def test_a_fault_behind_a_good_message_ends_the_calls_as_well() -> None:
    session = begun()
    called(session, 5, 9)
    session.receive(SERVER, pptp.echo_request() + b"\0\4")
    assert last(session, CLIENT).endswith(pptp.echo_request())
    assert session.violations() == ["pptp.malformed"]
    assert [note["cause"] for note in session.notes("pptp.ended")] == ["malformed"]
    assert Abort("malformed") in session.effects and session.pinholes.standing == {}
    session.receive(CLIENT, pptp.echo_request())
    assert session.effects[-1] != Send(SERVER, pptp.echo_request())


def test_unknown_calls_are_told_of_a_few_times() -> None:
    session = begun()
    for number in range(100):
        session.receive(CLIENT, pptp.clear(number))
    assert session.violations() == ["pptp.unknown_call"] * MOST_NOTED


def test_only_one_greeting_is_told() -> None:
    session = begun()
    for _ in range(3):
        session.receive(SERVER, pptp.start_request(b"again"))
        session.receive(CLIENT, pptp.start_reply(b"again"))
    assert len(session.notes("pptp.control")) == 1


def test_what_is_said_keeps_calls_alive_that_both_sides_have_agreed_on_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PP22: or requests that nobody answers hold their places as long as the connection stands."""
    kept: list[float] = []
    monkeypatch.setattr(FakePinholes, "keep", lambda pinholes, seconds: kept.append(seconds))
    session = begun(idle=60)
    session.receive(CLIENT, pptp.outgoing_request(5))
    session.receive(CLIENT, pptp.echo_request())
    assert kept == []
    called(session, 6, 9)
    kept.clear()
    session.receive(SERVER, pptp.echo_request())
    assert kept == [60]


def test_copies_of_messages_are_whole_and_as_they_go_on() -> None:
    session = begun()
    session.engine.copy(True)
    before = len(session.effects)
    session.receive(CLIENT, pptp.outgoing_request(5)[:100])
    session.receive(CLIENT, pptp.outgoing_request(5)[100:])
    copies: list[Effect] = [effect for effect in session.effects[before:] if isinstance(effect, Copy)]
    assert copies == [
        Copy(CLIENT, True, pptp.outgoing_request(5), b""),
        Copy(SERVER, False, pptp.outgoing_request(40000), b""),
    ]
    session.engine.copy(False)
    session.receive(CLIENT, pptp.echo_request())
    assert isinstance(session.effects[-1], Send)


def test_an_engine_that_is_stopped_with_a_call_tells_of_it() -> None:
    session = begun()
    called(session, 5, 9)
    session.pinholes.report = lambda grant, event: None
    assert session.engine.stop(0.0) == [] and session.pinholes.standing == {}
    assert session.engine.tick(1e9) == () == session.engine.eof(CLIENT, 1e9)
    assert session.engine.receive(CLIENT, pptp.echo_request(), 1e9) == ()
    assert session.engine.deadline() is None


def test_the_first_packet_of_a_tunnel_is_nothing_to_tell() -> None:
    session = begun()
    called(session, 5, 9)
    before = len(session.effects)
    session.use(1)
    assert len(session.effects) == before


def test_a_call_that_ends_from_outside_behind_an_end_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    session = begun()
    called(session, 5, 9)
    monkeypatch.setattr(session.pinholes, "close", lambda grant, reason="": None)
    session.eof(SERVER)
    before = session.sent(SERVER), session.sent(CLIENT)
    session.end(1, 0, 0, "idle")
    assert (session.sent(SERVER), session.sent(CLIENT)) == before
