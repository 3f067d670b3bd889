"""Any engine, watched (protocols/observe.py): every conversation that the helpers are tested with passes as it came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from protocols import HELPERS
from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Abort, Close, Effect, Finish, Note, Send, Splice
from protocols.contract.engine import Engine, Helper, Options
from protocols.contract.pinholes import Pinholes
from protocols.observe import IDLE_SECONDS, engines_of
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, Session, Transcript, bytewise, on, transcripts

EVERY_TRANSCRIPT = [
    pytest.param(helper, transcript, id=transcript.name)
    for helper in HELPERS.values()
    for transcript in transcripts(helper.name)
]
LONG_SECONDS = 30 * 86400.0
"""No clock runs longer."""


def watch(helper: Helper, transcript: Transcript) -> Session:
    return Session.of(helper, transcript.network, helper.options(**{**transcript.options, "mode": "observe"}))


@pytest.mark.parametrize(("helper", "transcript"), EVERY_TRANSCRIPT)
def test_every_byte_goes_on_as_it_came_and_nothing_else_is_sent(helper: Helper, transcript: Transcript) -> None:
    session = watch(helper, transcript)
    for step in transcript.steps:
        if step.side is None:
            continue
        for data in bytewise(step.data) if transcript.is_stream else (step.data,):
            if session.is_over:  # relayed unread from here on
                break
            before = len(session.effects)
            session.receive(step.side, data)
            sent = [effect for effect in session.effects[before:] if isinstance(effect, Send)]
            assert sent == [Send(step.side.other, data)]


@pytest.mark.parametrize(("helper", "transcript"), EVERY_TRANSCRIPT)
def test_nothing_is_opened_ended_or_left(helper: Helper, transcript: Transcript) -> None:
    session = watch(helper, transcript)
    for step in transcript.steps:
        if step.side is not None:
            session.receive(step.side, step.data)
        elif step.what.startswith("time "):
            session.wait(float(step.what.split()[1]))
    session.wait(LONG_SECONDS)
    session.close()
    assert session.pinholes.log == []
    assert not any(isinstance(effect, Abort) for effect in session.effects)
    assert len([effect for effect in session.effects if isinstance(effect, Finish)]) in (0, 2)
    assert session.is_dissolved


@pytest.mark.parametrize(("helper", "transcript"), EVERY_TRANSCRIPT)
def test_the_log_says_of_each_violation_what_would_have_been_done(helper: Helper, transcript: Transcript) -> None:
    session = watch(helper, transcript)
    for step in transcript.steps:
        if step.side is not None:
            session.receive(step.side, step.data)
    for note in session.notes("violation"):
        assert note["action"] == "passed" or note["action"].startswith("passed; else ")
    assert not session.notes("address.rewritten")


def logged_in(**options: Any) -> Session:
    ftp = HELPERS["ftp"]
    session = Session.of(ftp, on(NETWORKS["snat"], ftp, Transport.TCP), ftp.options(mode="observe", **options))
    session.server(b"220 ready")
    session.client(b"USER alice")
    session.server(b"230 in")
    return session


def test_of_ftp_the_log_says_what_would_have_been_opened_and_rewritten() -> None:
    session = logged_in()
    session.client(b"PORT 10,1,0,2,156,64")
    (opened,) = session.notes("pinhole.observed")
    assert (opened["purpose"], str(opened["listen"]), str(opened["target"])) == (
        "ftp-data",
        "198.51.100.1:40000",
        "10.1.0.2:40000",
    )
    (rewritten,) = session.notes("address.observed")
    assert rewritten["message"] == "PORT"


def test_of_ftp_a_bounce_passes_and_is_told() -> None:
    session = logged_in()
    session.client(b"PORT 203,0,113,99,195,80")
    (violation,) = session.notes("violation")
    assert (violation["rule"], violation["action"]) == ("ftp.bounce", "passed; else answered 504")


def test_what_nobody_uses_is_thought_of_as_open_for_a_minute() -> None:
    """So the next transfer is another one for the engine, as it would be if this one had come to nothing."""
    session = logged_in(default_data_port=False)
    session.client(b"PORT 10,1,0,2,156,64")
    session.server(b"200 ok")
    assert session.engine.deadline() == 60.0
    session.wait(60.0)
    assert session.engine.deadline() != 60.0


def test_a_session_that_would_have_been_ended_goes_on_unread() -> None:
    session = logged_in()
    session.wait(LONG_SECONDS)
    assert session.effects[-1] == Splice(IDLE_SECONDS)
    assert session.is_over


def asked(data: bytes, **options: Any) -> Session:
    """A session of TFTP, whose client has said this."""
    tftp = HELPERS["tftp"]
    session = Session.of(tftp, on(NETWORKS["snat"], tftp, Transport.UDP), tftp.options(mode="observe", **options))
    session.receive(Side.CLIENT, data)
    return session


def test_datagrams_that_would_have_ended_their_session_can_be_answered_and_what_comes_next_is_read() -> None:
    """The answer has no other way back."""
    session = asked(b"\0\2backup\0octet\0", write="deny")
    session.receive(Side.SERVER, b"\0\4\0\0")
    assert session.sent(Side.CLIENT) == b"\0\4\0\0"
    session.receive(Side.CLIENT, b"\0\1boot.img\0octet\0")
    assert not session.is_over
    assert [note["file"] for note in session.notes("tftp.request")] == [b"boot.img"]
    assert [note["rule"] for note in session.notes("violation")] == ["tftp.write", "tftp.not_tftp"]


def test_of_a_way_in_that_nobody_took_the_log_says_what_it_would_have_said() -> None:
    session = asked(b"\0\1boot.img\0octet\0")
    session.wait(15.0)
    assert [note["result"] for note in session.notes("tftp.transfer")] == ["unanswered"]
    assert session.effects[-1] == Close("unanswered")


def test_what_is_told_of_a_call_says_of_which_one() -> None:
    sip = HELPERS["sip"]
    (call,) = (one for one in transcripts("sip") if one.name == "sip/call_not_answered")
    session = watch(sip, call)
    for step in call.steps:
        if step.side is not None:
            session.receive(step.side, step.data)
    told = [effect for effect in session.effects if isinstance(effect, Note)]
    assert {"pinhole.observed", "address.observed"} <= {note.event for note in told}
    assert {(note.told["call_id"], note.told["direction"]) for note in told} == {(b"call", "out")}


class _Silent(Engine):
    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        return ()


class _Together:
    """A factory that tells who has asked it for engines."""

    def __init__(self) -> None:
        self.made: list[Transport] = []

    def __call__(self, peers: Peers, options: Any, pinholes: Pinholes, now: float) -> Engine:
        self.made.append(peers.transport)
        return _Silent()

    def counts(self) -> dict[str, int]:
        return {"engines": len(self.made)}

    def standing(self) -> dict[str, int]:
        return self.counts()


def test_helpers_of_one_family_have_one_factory_that_tells_once() -> None:
    made: list[_Together] = []

    def start() -> _Together:
        made.append(_Together())
        return made[-1]

    def toy(name: str, transport: Transport, family: str) -> Helper:
        return Helper(name, "a toy", ((transport, 7),), Options, start, family=family)

    tcp, udp, alone = toy("a", Transport.TCP, "ab"), toy("b", Transport.UDP, "ab"), toy("c", Transport.UDP, "")
    engines = engines_of({helper.name: helper for helper in (tcp, udp, alone)})
    assert len(made) == 4  # one of each kind for the family, and for the one that is alone
    for helper in (tcp, udp, alone):
        network = on(NETWORKS["none"], helper, helper.ports[0][0])
        engines[helper.name](network, Options(), FakePinholes(), 0.0)
        engines[helper.name](network, Options(mode="observe"), FakePinholes(), 0.0)
    assert [one.made for one in made] == [[Transport.TCP, Transport.UDP]] * 2 + [[Transport.UDP]] * 2
    assert [dict(engines[name].counts()) for name in "abc"] == [{"engines": 4}, {}, {"engines": 2}]
    assert [dict(engines[name].standing()) for name in "abc"] == [{"engines": 4}, {}, {"engines": 2}]
