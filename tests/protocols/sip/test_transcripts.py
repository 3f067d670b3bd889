"""Conversations of SIP: what holds for datagrams, and that nothing is left of any (see test_every_transcript.py)."""

from __future__ import annotations

import random

import pytest

from protocols.sip.helper import HELPER
from tests.harness.playbook import Session, Transcript, play, transcripts, whole

TRANSCRIPTS = transcripts("sip")
DATAGRAMS = [transcript for transcript in TRANSCRIPTS if not transcript.is_stream]
LONG_SECONDS = 30 * 86400.0
"""No clock runs longer."""


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_transcript_whole_and_nothing_is_left_of_it(transcript: Transcript) -> None:
    nothing_is_left(play(transcript, HELPER, whole))


@pytest.mark.parametrize("transcript", DATAGRAMS, ids=lambda transcript: transcript.name)
def test_datagrams_that_are_repeated_get_the_same_again_and_open_nothing(transcript: Transcript) -> None:
    """Each datagram of a conversation comes twice (S62)."""
    nothing_is_left(play(transcript, HELPER, whole, twice=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("transcript", DATAGRAMS, ids=lambda transcript: transcript.name)
def test_datagrams_out_of_order_are_all_heard_and_leave_nothing(transcript: Transcript, seed: int) -> None:
    """Each overtakes some of those before it, and some come twice."""
    chance = random.Random(seed)
    session = Session.of(HELPER, transcript.network, HELPER.options(**transcript.options))
    arrivals = [(step.side, step.data) for step in transcript.steps if step.side is not None]
    arrivals += chance.sample(arrivals, len(arrivals) // 3)
    arrivals = [pair for _, pair in sorted(enumerate(arrivals), key=lambda at: at[0] + chance.uniform(0, 4))]
    heard: set[bytes] = set()
    for side, data in arrivals:
        before = len(session.effects)
        session.receive(side, data)
        # A flood is told of twice, and what comes again not again.
        assert len(session.effects) > before or data in heard or transcript.options.get("rates"), "dropped in silence"
        heard.add(data)
        session.wait(chance.choice((0.0, 0.5, 4.0)))
    nothing_is_left(session)


def nothing_is_left(session: Session) -> None:
    """When nobody says anything more, all ends by itself."""
    session.wait(LONG_SECONDS)
    assert session.pinholes.standing == {}
    session.close()
    assert session.is_dissolved
