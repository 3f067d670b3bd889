"""Conversations with a portmapper: those of tests/transcripts/pmap, one behaviour a file."""

from __future__ import annotations

import pytest

from protocols.pmap.engine import HELPER
from tests.harness.playbook import Transcript, play, transcripts, whole


@pytest.mark.parametrize("transcript", transcripts("pmap"), ids=lambda transcript: transcript.name)
def test_transcript_and_nothing_is_left_of_it(transcript: Transcript) -> None:
    session = play(transcript, HELPER, whole)
    session.close()
    for number in tuple(session.pinholes.standing):
        session.end(number, 0, 0, "never_used")
    assert session.is_dissolved and session.pinholes.standing == {}
