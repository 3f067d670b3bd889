"""Conversations of RSH: those of tests/transcripts/rsh, one behaviour a file."""

from __future__ import annotations

import pytest

from protocols.rsh.engine import HELPER
from tests.harness.playbook import Transcript, play, transcripts, whole


@pytest.mark.parametrize("transcript", transcripts("rsh"), ids=lambda transcript: transcript.name)
def test_transcript_and_nothing_is_left_of_it(transcript: Transcript) -> None:
    session = play(transcript, HELPER, whole)
    assert session.pinholes.standing == {} or not session.is_over
