"""Conversations of MGCP: those of tests/transcripts/mgcp, one behaviour a file."""

from __future__ import annotations

import pytest

from protocols.mgcp.helper import HELPER
from tests.harness.playbook import Transcript, play, transcripts, whole

REPEATED = [
    transcript
    for transcript in transcripts("mgcp")
    if not any("violation" in line for step in transcript.steps for line in step.expected)
    and not any(step.what.startswith("refuse ") for step in transcript.steps)
    and transcript.options.get("mode") != "observe"
]


@pytest.mark.parametrize("transcript", REPEATED, ids=lambda transcript: transcript.name)
def test_every_datagram_may_come_twice(transcript: Transcript) -> None:
    """MG8: the same goes on, nothing more is opened, and the log says nothing more."""
    play(transcript, HELPER, whole, twice=True)


def test_most_conversations_are_tried_so() -> None:
    assert len(REPEATED) > 15
