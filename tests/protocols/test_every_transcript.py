"""Every conversation of tests/transcripts, one behaviour a file, however it arrives. Those of a helper are found by
its name, which its directory has."""

from __future__ import annotations

import pytest

from protocols import HELPERS
from protocols.contract.engine import Helper
from tests.harness.playbook import Transcript, bytewise, play, randomly, transcripts, whole

EVERY = [(helper, transcript) for helper in HELPERS.values() for transcript in transcripts(helper.name)]


def named(pairs: list[tuple[Helper, Transcript]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("helper", "transcript"), [pytest.param(*pair, id=pair[1].name) for pair in pairs])


every_transcript = named(EVERY)
every_stream = named([(helper, transcript) for helper, transcript in EVERY if transcript.is_stream])


def test_each_helper_has_conversations_and_each_directory_a_helper() -> None:
    assert {helper.name for helper, _ in EVERY} == set(HELPERS)


@every_transcript
def test_transcript_whole(helper: Helper, transcript: Transcript) -> None:
    play(transcript, helper, whole)


@every_stream
def test_transcript_byte_by_byte(helper: Helper, transcript: Transcript) -> None:
    play(transcript, helper, bytewise)


@pytest.mark.parametrize("seed", range(8))
@every_stream
def test_transcript_cut_at_random(helper: Helper, transcript: Transcript, seed: int) -> None:
    play(transcript, helper, randomly(seed))
