"""What holds for every engine whatever arrives. A helper is tested here by being in the registry."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import HELPERS
from protocols.engine import Abort, Expect, Finish, Grant, Helper, Host, Network, Peers, Refusal, Send, Side, Splice
from tests.playbook import NETWORKS, FakePinholes, Session, Transcript, render, to_bytes, transcripts

MAX_PINHOLES = 64
MAX_RETAINED_BYTES = 200_000
"""What an engine may hold after any input: far below what a flood sends, far above what a session needs."""


# -- rights --------------------------------------------------------------------------------------------------------


class StrictPinholes(FakePinholes):
    """Refuses nothing but what is over the cap, and fails the test for what the session has no right to."""

    def __init__(self, peers: Peers, options: Any) -> None:
        super().__init__()
        self.peers = peers
        self.min_port = getattr(options, "min_port", 1024)
        named = getattr(options, "third_party", "deny")
        self.third_party: tuple[Network, ...] = () if named == "deny" else named

    def open(self, expect: Expect) -> Grant | Refusal:
        if len(self.standing) >= MAX_PINHOLES:
            return Refusal("limit_per_session")
        sides = [side for side in Side if self.peers.own(side).host == expect.target.host]
        assert sides or self._is_named(expect.target.host), f"a third host: {expect}"
        assert expect.target.port >= self.min_port, f"a low port: {expect}"
        others = [self.peers.own(side.other).host for side in sides or Side]
        allowed = set(expect.allow) - set(self.third_party)
        assert len(allowed) == 1, f"more than the other side may come: {expect}"
        (network,) = allowed
        assert network.num_addresses == 1 and network.network_address in others, f"somebody else may come: {expect}"
        seen = {self.peers.as_seen(side).host for side in Side}
        assert expect.listen.host in seen or self._is_named(expect.listen.host), f"a foreign place: {expect}"
        assert expect.source.host in seen, f"a foreign source: {expect}"
        assert expect.purpose and expect.trigger and expect.uses >= 1 and expect.idle_seconds > 0
        return super().open(expect)

    def _is_named(self, host: Host) -> bool:
        return any(host in network for network in self.third_party)


def begin(helper: Helper, network: Peers, options: Any) -> Session:
    pinholes = StrictPinholes(network, options)
    session = Session(helper.start()(network, options, pinholes, 0.0), pinholes)
    pinholes.report = session._report
    return session


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


def spoken(helper: str) -> list[Arrival]:
    """Every line of every transcript."""
    return [
        Arrival(side, to_bytes(step.what.partition(": ")[2]))
        for transcript in transcripts(helper)
        for step in transcript.steps
        for side in Side
        if step.what.startswith(f"{side.value}:")
    ]


def mutated(arrival: Arrival, at: int, new: bytes, cut: int) -> Arrival:
    at = at % (len(arrival.data) + 1)
    return Arrival(arrival.side, arrival.data[:at] + new + arrival.data[at + cut :])


def steps(helper: str) -> st.SearchStrategy[list[Step]]:
    lines = st.sampled_from(spoken(helper))
    changed = st.builds(mutated, lines, st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3))
    noise = st.builds(Arrival, st.sampled_from(Side), st.binary(max_size=40))
    bulk = st.builds(Arrival, st.sampled_from(Side), st.binary(min_size=1, max_size=3).map(lambda data: data * 5000))
    other = st.one_of(
        st.builds(End, st.sampled_from(Side)),
        st.builds(Wait, st.sampled_from([1.0, 10.0, 200.0, 4000.0])),
        st.builds(Visit, st.integers(0, 3), st.booleans()),
    )
    return st.lists(st.one_of(lines, lines, lines, changed, other, noise, bulk), max_size=40)


def run(session: Session, script: list[Step], size: int | None = None) -> None:
    """`size`: how many bytes arrive at once."""
    for step in script:
        match step:
            case Arrival(side, data):
                for at in range(0, len(data), size or len(data) or 1):
                    session.receive(side, data[at : at + size] if size else data)
            case End(side):
                session.eof(side)
            case Wait(seconds):
                session.wait(seconds)
            case Visit(number, ends):
                visit(session, number, ends)
        assert retained(session) < MAX_RETAINED_BYTES
        check(session)


def visit(session: Session, number: int, ends: bool) -> None:
    pinholes = session.pinholes
    admitting = [g for g in pinholes.standing.values() if g.expect.confirmed or g.id in pinholes.confirmed]
    if session.is_over or not admitting:
        return
    grant = admitting[number % len(admitting)]
    visited = getattr(pinholes, "visited", set())
    pinholes.visited = visited  # type: ignore[attr-defined]
    if ends:
        session.end(grant.id, 3, 4)
    elif grant.id not in visited:
        visited.add(grant.id)
        session.use(grant.id)


# -- what must hold ------------------------------------------------------------------------------------------------


def check(session: Session) -> None:
    finished: set[Side] = set()
    for number, effect in enumerate(session.effects):
        match effect:
            case Abort() | Splice():
                assert number == len(session.effects) - 1, "an effect after the end"
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


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.slow
@given(data=st.data())
@FUZZ
def test_no_input_raises_or_opens_what_the_session_has_no_right_to(helper: Helper, data: st.DataObject) -> None:
    network = data.draw(st.sampled_from(sorted(NETWORKS)))
    session = begin(helper, NETWORKS[network], helper.options())
    run(session, data.draw(steps(helper.name)))


@pytest.mark.slow
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
    run(session, script)


@pytest.mark.slow
@given(data=st.data())
@FUZZ
def test_any_cutting_of_any_input_has_the_same_effects(helper: Helper, data: st.DataObject) -> None:
    network = NETWORKS[data.draw(st.sampled_from(sorted(NETWORKS)))]
    script = data.draw(steps(helper.name))
    whole, cut = begin(helper, network, helper.options()), begin(helper, network, helper.options())
    run(whole, script)
    run(cut, script, data.draw(st.integers(1, 50)))
    if not any(isinstance(effect, Splice) for effect in whole.effects):  # from there on the bytes are not the engine's
        assert by_kind(whole) == by_kind(cut)
        assert whole.pinholes.log == cut.pinholes.log


def by_kind(session: Session) -> list[str]:
    return render(session.effects)


def test_transcripts_open_only_what_they_have_a_right_to(helper: Helper) -> None:
    for transcript in transcripts(helper.name):
        session = begin(helper, transcript.network, helper.options(**transcript.options))
        run(session, list(conversation(transcript)))


def conversation(transcript: Transcript) -> Iterator[Step]:
    for step in transcript.steps:
        words = step.what.split()
        match words:
            case [("client:" | "server:") as side, *_]:
                yield Arrival(Side(side[:-1]), to_bytes(step.what.partition(": ")[2]))
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
    assert ip_address("198.51.100.2") == NETWORKS["none"].client.host
