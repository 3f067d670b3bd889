"""Scripts for engines: what arrives at a session, step by step, and what must hold whatever that is.

Drawn at random by Hypothesis (test_every_engine.py), or guided by what is covered (tools/fuzz).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache
from types import FunctionType, MethodType, ModuleType
from typing import Any

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Abort, Close, Finish, Note, Resolve, Send, Splice
from protocols.contract.engine import EngineFactory, Helper
from protocols.contract.pinholes import Grant
from protocols.observe import Engines
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import Session, Transcript, transcripts
from tests.harness.rights import left_of, rights
from tests.harness.strict_pinholes import StrictPinholes

MAX_RETAINED_BYTES = {"sip": 2_500_000, "mgcp": 2_500_000, "rtsp": 1_000_000, "pmap": 2_500_000, "dcerpc": 2_500_000}
USUALLY_RETAINED_BYTES = 200_000
"""What an engine may hold after any input, with what it shares with others: far below what a flood sends, far above
what a session needs. SIP: a message of 288 KiB of each side, and the datagrams of half a minute."""
LONG_SECONDS = 30 * 86400.0
"""No clock runs longer."""


def begin(
    helper: Helper, network: Peers, options: Any, start: EngineFactory | None = None, beside: Session | None = None
) -> Session:
    """start: of a daemon that has a session already, `beside`."""
    pinholes = rights(helper.name)(network, options, pinholes_of(beside) if beside else None)
    engines = start or Engines(helper)
    now = beside.now if beside else 0.0
    engine = engines(network, options, pinholes, now)
    return Session(engine, pinholes, engines, now=now, daemon=beside.daemon if beside else [])


def pinholes_of(session: Session) -> StrictPinholes:
    assert isinstance(session.pinholes, StrictPinholes)
    return session.pinholes


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


@cache
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


def run(session: Session, script: Sequence[Step], size: int | None = None) -> None:
    """`size`: how many bytes arrive at once."""
    for step in script:
        take(session, step, size)


def take(session: Session, step: Step, size: int | None = None) -> None:
    match step:
        case Arrival(side, data) if side not in session.ended:
            pinholes_of(session).hear(side, data)
            for at in range(0, len(data), size or len(data) or 1):
                part, done = data[at : at + size] if size else data, len(session.effects)
                session.receive(side, part)
                pinholes_of(session).judge(side, part, session.effects[done:])
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
        session.resolved(name, *((pinholes_of(session).peers.server.host,) if name < "n" else ()))


def finish(session: Session, side: Side) -> None:
    """A stream has one end, and datagrams have none."""
    if side not in session.ended and pinholes_of(session).peers.transport is Transport.TCP:
        done, was_over = len(session.effects), session.is_over
        session.eof(side)
        if not was_over:
            pinholes_of(session).judge_end(side, session.effects[done:])


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


def announced(helper: Helper, session: Session) -> Iterator[Grant]:
    """The pinholes of a session to which nobody has come yet, and whose connection is read in a role of its own: that
    of the H.245 of a call."""
    pinholes = pinholes_of(session)
    for grant in pinholes.admitting():
        reader = grant.expect.reader if isinstance(grant, Grant) and grant.id not in pinholes.visited else None
        if isinstance(grant, Grant) and reader and reader.helper == helper.name and reader.role is not None:
            yield grant


def come(helper: Helper, session: Session, start: EngineFactory) -> Session | None:
    """Somebody comes to the first of these: the session of who does. None: there is none."""
    grant = next(announced(helper, session), None)
    if grant is None:
        return None
    pinholes, expect = pinholes_of(session), grant.expect
    pinholes.visited.add(grant.id)
    session.use(grant.id)
    if expect.uses == 1 and grant.id in pinholes.standing:
        session.end(grant.id, 0, 0, "used_up")
    source = Endpoint(pinholes.callers(grant)[0].network_address, 50123)
    seen = Endpoint(expect.source.host, 50124) if expect.source is not None else source
    role = expect.reader.role if expect.reader is not None else None
    peers = Peers(source, seen, expect.target, grant.listen, expect.transport, role)
    return begin(helper, peers, pinholes.options, start, session)


def end(helper: Helper, *sessions: Session, is_thorough: bool = True) -> None:
    """Their connections are gone, and all clocks run out: nothing is left, of what they share neither.

    is_thorough: what they hold is measured before, and what outlives connections has all the time that it takes; else
    the daemon ends.
    """
    for session in sessions:
        assert not is_thorough or retained(session) < MAX_RETAINED_BYTES.get(helper.name, USUALLY_RETAINED_BYTES)
        session.close()
    if is_thorough:
        sessions[0].wait(LONG_SECONDS)
    for session in () if is_thorough else sessions:
        session.dissolve()
    for session in sessions:
        for grant in tuple(pinholes_of(session).standing.values()):
            stands = grant.id in pinholes_of(session).standing
            is_timed = isinstance(grant, Grant) and (grant.expect.lasts_seconds is None or grant.expect.renewed_by_use)
            if stands and is_timed:  # as long as configured, or as it is used
                session.end(grant.id, 0, 0, "never_used")
    for session in sessions:
        check(session)
        assert session.is_dissolved
        assert session.pinholes.standing == {}
        assert left_of(session.engines) == {}


# -- what must hold ------------------------------------------------------------------------------------------------


def check(session: Session) -> None:
    finished: set[Side] = set()
    for number, effect in enumerate(session.effects):
        match effect:
            case Abort() | Close() | Splice():
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
    """Bytes that only the engine keeps alive, roughly: all it refers to but code, its surroundings and small values.
    What the engines of a daemon share counts, too."""
    return sum(map(sys.getsizeof, _reached(session.engine)))


def retained_alone(session: Session) -> int:
    """The same without what the engines of a daemon share."""
    shared = {id(thing) for thing in _reached(session.engines)}
    return sum(map(sys.getsizeof, _reached(session.engine, shared)))


def _reached(start: Any, seen: Set[int] = frozenset()) -> Iterator[Any]:
    """All that can be reached from there, but for code, surroundings, and what has been seen."""
    skip = (type, ModuleType, FunctionType, MethodType, FakePinholes, Peers)
    todo, known = [start], {id(start), *seen}
    while todo:
        for thing in gc.get_referents(todo.pop()):
            if id(thing) not in known and not isinstance(thing, skip):
                known.add(id(thing))
                todo.append(thing)
                yield thing
