"""What holds for every engine whatever arrives. A helper is tested here by being in the registry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import HELPERS
from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Splice
from protocols.contract.engine import Helper
from protocols.observe import Engines
from tests.harness.playbook import NETWORKS, Session, Transcript, on, render, roles, transcripts
from tests.harness.scripts import (
    WORDS,
    Arrival,
    End,
    Step,
    Visit,
    Wait,
    begin,
    conversation,
    crossed,
    end,
    mutated,
    retained_alone,
    run,
    spoken,
)


def networks(helper: Helper) -> st.SearchStrategy[Peers]:
    return st.builds(
        lambda name, transport, role: replace(on(NETWORKS[name], helper, transport), role=role),
        st.sampled_from(sorted(NETWORKS)),
        st.sampled_from([transport for transport, _ in helper.ports]),
        st.sampled_from(roles(helper)),
    )


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


@pytest.fixture(params=HELPERS.values(), ids=lambda helper: helper.name)
def helper(request: pytest.FixtureRequest) -> Helper:
    chosen: Helper = request.param
    return chosen


STREAMS = [helper for helper in HELPERS.values() if any(kind is Transport.TCP for kind, _ in helper.ports)]
"""Helpers whose engines read streams, which may be cut anywhere."""
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
    start, options = Engines(helper), helper.options()
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
@pytest.mark.parametrize("helper", STREAMS, ids=lambda helper: helper.name)
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
    assert retained_alone(session) < 12_000
