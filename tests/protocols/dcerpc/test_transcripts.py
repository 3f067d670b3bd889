"""Conversations with an endpoint mapper: those of tests/transcripts/dcerpc, one behaviour a file."""

from __future__ import annotations

import pytest

from protocols.dcerpc.helper import HELPER
from tests.harness.playbook import Transcript, play, transcripts, whole


@pytest.mark.parametrize("transcript", transcripts("dcerpc"), ids=lambda transcript: transcript.name)
def test_transcript_and_nothing_is_left_of_it(transcript: Transcript) -> None:
    session = play(transcript, HELPER, whole)
    session.close()
    for number in tuple(session.pinholes.standing):
        session.end(number, 0, 0, "never_used")
    assert session.is_dissolved and session.pinholes.standing == {}
