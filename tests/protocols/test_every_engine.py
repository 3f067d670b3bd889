"""What holds for every engine whatever arrives. A helper is tested here by being in the registry."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import HELPERS
from protocols.engine import (
    Abort,
    EngineFactory,
    Finish,
    Grant,
    Helper,
    Note,
    Peers,
    Resolve,
    Send,
    Side,
    Splice,
    Transport,
)
from tests.fake_pinholes import FakePinholes
from tests.playbook import NETWORKS, Session, Transcript, on, render, transcripts
from tests.rights import RIGHTS, StrictPinholes, left_of

MAX_RETAINED_BYTES = {"ftp": 200_000, "sip": 2_500_000, "tns": 200_000}
"""What an engine may hold after any input, with what it shares with others: far below what a flood sends, far above
what a session needs. SIP: a message of 288 KiB of each side, and the datagrams of half a minute."""
LONG_SECONDS = 30 * 86400.0
"""No clock runs longer."""


def begin(
    helper: Helper, network: Peers, options: Any, start: EngineFactory | None = None, beside: Session | None = None
) -> Session:
    """start: of a daemon that has a session already, `beside`."""
    pinholes = RIGHTS[helper.name](network, options, pinholes_of(beside) if beside else None)
    engine = (start or helper.start())(network, options, pinholes, 0.0)
    return Session(engine, pinholes, daemon=beside.daemon if beside else [])


def pinholes_of(session: Session) -> StrictPinholes:
    assert isinstance(session.pinholes, StrictPinholes)
    return session.pinholes


def networks(helper: Helper) -> st.SearchStrategy[Peers]:
    return st.builds(
        lambda name, transport: on(NETWORKS[name], helper, transport),
        st.sampled_from(sorted(NETWORKS)),
        st.sampled_from([transport for transport, _ in helper.ports]),
    )


# -- input ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrival:
    side: Side
    data: bytes


@dataclass(frozen=True)
class End:
    side: Side


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Visit:
    """To the n-th pinhole that is open and admits somebody, if there is one; or its end."""

    number: int
    ends: bool


Step = Arrival | End | Wait | Visit

WORDS = (
    b"\r\n",
    b"\r\n ",
    b"\n",
    b"0",
    b"00",
    b"-",
    b":",
    b",",
    b";",
    b"<",
    b'"',
    b"(",
    b"@",
    b"*",
    b"tag=",
    b"127.0.0.1",
    b"10.1.0.2",
    b"10.1.0.3",
    b"203.0.113.7",
    b"203.0.113.99",
    b"::1",
    b"0.0.0.0",
    b"999",
    b"65536",
    b"%3b",
    b"22",
)
"""What has a meaning in many places."""


def spoken(helper: str) -> list[Arrival]:
    """Every line of every transcript, or every message."""
    return [
        Arrival(step.side, step.data)
        for transcript in transcripts(helper)
        for step in transcript.steps
        if step.side is not None
    ]


def mutated(arrival: Arrival, at: int, new: bytes, cut: int) -> Arrival:
    at = at % (len(arrival.data) + 1)
    return Arrival(arrival.side, arrival.data[:at] + new + arrival.data[at + cut :])


def crossed(arrival: Arrival, other: Arrival, at: int, of: int, cut: int) -> Arrival:
    """With some lines of another one."""
    lines, others = arrival.data.splitlines(True), other.data.splitlines(True)
    at, of = at % (len(lines) + 1), of % (len(others) + 1)
    return Arrival(arrival.side, b"".join((*lines[:at], *others[of : of + 2], *lines[at + cut :])))


def steps(helper: str) -> st.SearchStrategy[list[Step]]:
    lines = st.sampled_from(spoken(helper))
    words = st.one_of(st.binary(max_size=3), st.sampled_from(WORDS))
    changed = st.builds(mutated, lines, st.integers(0, 1000), words, st.integers(0, 3))
    mixed = st.builds(crossed, lines, lines, st.integers(0, 30), st.integers(0, 30), st.integers(0, 2))
    noise = st.builds(Arrival, st.sampled_from(Side), st.binary(max_size=40))
    bulk = st.builds(Arrival, st.sampled_from(Side), st.binary(min_size=1, max_size=3).map(lambda data: data * 5000))
    other = st.one_of(
        st.builds(End, st.sampled_from(Side)),
        st.builds(Wait, st.sampled_from([1.0, 10.0, 200.0, 4000.0])),
        st.builds(Visit, st.integers(0, 3), st.booleans()),
    )
    return st.lists(st.one_of(lines, lines, lines, changed, mixed, other, noise, bulk), max_size=40)


def run(session: Session, script: Sequence[Step], size: int | None = None) -> None:
    """`size`: how many bytes arrive at once."""
    for step in script:
        take(session, step, size)


def take(session: Session, step: Step, size: int | None = None) -> None:
    match step:
        case Arrival(side, data) if side not in session.ended:
            pinholes_of(session).hear(side, data)
            for at in range(0, len(data), size or len(data) or 1):
                session.receive(side, data[at : at + size] if size else data)
                resolve(session)
        case End(side):
            finish(session, side)
        case Wait(seconds):
            session.wait(seconds)
        case Visit(number, ends):
            visit(session, number, ends)
    check(session)


def resolve(session: Session) -> None:
    """A name that the engine asks for has an address, or none, by its first letter."""
    if session.effects and isinstance(session.effects[-1], Resolve):
        name = session.effects[-1].name
        session.resolved(name, *((session.engine._peers.server.host,) if name < "n" else ()))  # type: ignore[attr-defined]


def finish(session: Session, side: Side) -> None:
    """A stream has one end, and datagrams have none."""
    if side not in session.ended and pinholes_of(session).peers.transport is Transport.TCP:
        session.eof(side)


def visit(session: Session, number: int, ends: bool) -> None:
    pinholes = pinholes_of(session)
    admitting = pinholes.admitting()
    if session.is_over or not admitting:
        return
    grant = admitting[number % len(admitting)]
    if ends:
        session.end(grant.id, 3, 4, "idle" if number % 2 else "finished")
    elif grant.id not in pinholes.visited:
        pinholes.visited.add(grant.id)
        session.use(grant.id)


def end(helper: Helper, *sessions: Session) -> None:
    """Their connections are gone, and all clocks run out: nothing is left, of what they share neither."""
    for session in sessions:
        assert retained(session) < MAX_RETAINED_BYTES[helper.name]
        session.close()
    sessions[0].wait(LONG_SECONDS)
    for session in sessions:
        for grant in tuple(pinholes_of(session).standing.values()):
            stands = grant.id in pinholes_of(session).standing
            if stands and isinstance(grant, Grant) and grant.expect.open_seconds is None:  # as long as configured
                session.end(grant.id, 0, 0, "never_used")
        check(session)
        assert session.is_dissolved
        assert session.pinholes.standing == {}
        assert left_of(session.engine) == {}


# -- what must hold ------------------------------------------------------------------------------------------------


def check(session: Session) -> None:
    finished: set[Side] = set()
    for number, effect in enumerate(session.effects):
        match effect:
            case Abort() | Splice():
                assert all(isinstance(later, Note) for later in session.effects[number + 1 :]), (
                    "an effect after the end"
                )
            case Finish(to=side):
                assert side not in finished, "finished twice"
                finished.add(side)
            case Send(to=side, data=data):
                assert data, "nothing to send"
                assert side not in finished, "sent after the end"
    deadline = session.engine.deadline()
    assert deadline is None or isinstance(deadline, float | int)


def retained(session: Session) -> int:
    """Bytes that only the engine keeps alive, roughly: all it refers to but code, its surroundings and small values."""
    skip = (type, ModuleType, FunctionType, MethodType, FakePinholes, Peers)
    seen: set[int] = {id(session.engine)}
    todo: list[Any] = [session.engine]
    total = 0
    while todo:
        for thing in gc.get_referents(todo.pop()):
            if id(thing) not in seen and not isinstance(thing, skip):
                seen.add(id(thing))
                total += sys.getsizeof(thing)
                todo.append(thing)
    return total


@pytest.fixture(params=HELPERS.values(), ids=lambda helper: helper.name)
def helper(request: pytest.FixtureRequest) -> Helper:
    chosen: Helper = request.param
    return chosen


FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.slow
@pytest.mark.timeout(300)
@given(data=st.data())
@FUZZ
def test_no_input_raises_or_opens_what_the_session_has_no_right_to(helper: Helper, data: st.DataObject) -> None:
    session = begin(helper, data.draw(networks(helper)), helper.options())
    session.tells_late = data.draw(st.booleans())
    run(session, data.draw(steps(helper.name)))
    end(helper, session)


@pytest.mark.slow
@pytest.mark.timeout(300)
@given(data=st.data())
@FUZZ
def test_mutated_conversations_keep_to_the_options(helper: Helper, data: st.DataObject) -> None:
    """A whole transcript, cut and with lines of another one spliced in: deeper than single lines get."""
    known = transcripts(helper.name)
    base: Transcript = data.draw(st.sampled_from(known))
    script: list[Step] = list(conversation(base))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(script)))
        script[at : at + data.draw(st.integers(0, 2))] = data.draw(steps(helper.name))[:4]
    session = begin(helper, base.network, helper.options(**base.options))
    session.tells_late = data.draw(st.booleans())
    run(session, script)
    end(helper, session)


@pytest.mark.slow
@pytest.mark.timeout(300)
@given(data=st.data())
@settings(FUZZ, max_examples=60)
def test_sessions_of_one_daemon_do_not_spoil_each_other(helper: Helper, data: st.DataObject) -> None:
    """What one says may be about what another has begun: then too nothing raises, and nothing is left."""
    start, options = helper.start(), helper.options()
    sessions: list[Session] = []
    for network in data.draw(st.lists(networks(helper), min_size=2, max_size=3)):
        sessions.append(begin(helper, network, options, start, sessions[0] if sessions else None))
    for _ in range(data.draw(st.integers(1, 4))):
        session = data.draw(st.sampled_from(sessions))
        run(session, list(conversation(data.draw(st.sampled_from(transcripts(helper.name)))))[:12])
        run(data.draw(st.sampled_from(sessions)), data.draw(steps(helper.name))[:8])
    end(helper, *sessions)


@pytest.mark.slow
@pytest.mark.timeout(300)
@given(data=st.data())
@FUZZ
def test_any_cutting_of_any_input_has_the_same_effects(helper: Helper, data: st.DataObject) -> None:
    network = on(NETWORKS[data.draw(st.sampled_from(sorted(NETWORKS)))], helper, Transport.TCP)
    script = data.draw(steps(helper.name))
    whole, cut = begin(helper, network, helper.options()), begin(helper, network, helper.options())
    run(whole, script)
    run(cut, script, data.draw(st.integers(1, 50)))
    if not any(isinstance(effect, Splice) for effect in whole.effects):  # from there on the bytes are not the engine's
        assert render(whole.effects) == render(cut.effects)
        assert whole.pinholes.log == cut.pinholes.log


def test_transcripts_open_only_what_they_have_a_right_to(helper: Helper) -> None:
    for transcript in transcripts(helper.name):
        session = begin(helper, transcript.network, helper.options(**transcript.options))
        run(session, list(conversation(transcript)))
        end(helper, session)


def conversation(transcript: Transcript) -> Iterator[Step]:
    for step in transcript.steps:
        words = step.what.split()
        match words:
            case _ if step.side is not None:
                yield Arrival(step.side, step.data)
            case [("client" | "server") as side, "eof"]:
                yield End(Side(side))
            case ["time", seconds]:
                yield Wait(float(seconds))
            case ["used" | "closed" as what, *_]:
                yield Visit(0, what == "closed")


def test_engines_start_alike_and_keep_nothing_between_sessions(helper: Helper) -> None:
    """No module-level state: a session does not see the one before it."""
    for transcript in transcripts(helper.name):
        options = helper.options(**transcript.options)
        first, second = (begin(helper, transcript.network, options) for _ in range(2))
        run(first, list(conversation(transcript)))
        run(second, list(conversation(transcript)))
        assert render(first.effects) == render(second.effects)


def test_every_helper_says_what_it_is(helper: Helper) -> None:
    assert HELPERS[helper.name] is helper
    assert helper.summary
    assert helper.ports
    assert all(0 < port < 65536 for _, port in helper.ports)
    assert helper.options() == helper.options()
    assert transcripts(helper.name), "no transcripts"


def test_an_idle_session_is_small(helper: Helper) -> None:
    session = begin(helper, NETWORKS["none"], helper.options())
    assert retained(session) < 16_000
