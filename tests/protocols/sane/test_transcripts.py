"""Conversations of SANE: those of tests/transcripts/sane, one behaviour a file."""

from __future__ import annotations

import pytest

from protocols.sane.engine import HELPER
from tests.harness.playbook import Transcript, play, transcripts, whole


@pytest.mark.parametrize("transcript", transcripts("sane"), ids=lambda transcript: transcript.name)
def test_transcript(transcript: Transcript) -> None:
    play(transcript, HELPER, whole)
