"""Conversations of DNS: those of tests/transcripts/dns, one behaviour a file."""

from __future__ import annotations

import pytest

from protocols.dns.engine import HELPER
from tests.harness.playbook import Transcript, play, transcripts, whole


@pytest.mark.parametrize("transcript", transcripts("dns"), ids=lambda transcript: transcript.name)
def test_transcript_and_nothing_waits_behind_it(transcript: Transcript) -> None:
    session = play(transcript, HELPER, whole)
    session.close()
    session.dissolve()
    assert session.pinholes.opened == []
