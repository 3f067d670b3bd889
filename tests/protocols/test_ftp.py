"""FTP. Conversations are in tests/transcripts/ftp, one behaviour a file; here is what a transcript cannot say."""

from __future__ import annotations

import pytest

from protocols.engine import Side
from protocols.ftp import HELPER, FtpOptions
from tests.playbook import (
    NETWORKS,
    Session,
    Transcript,
    bytewise,
    play,
    randomly,
    transcripts,
    whole,
)

CLIENT, SERVER = Side.CLIENT, Side.SERVER
TRANSCRIPTS = transcripts("ftp")


def start(network: str = "none", options: FtpOptions | None = None) -> Session:
    session = Session.of(HELPER, NETWORKS[network], options)
    session.server(b"220 ready")
    session.effects.clear()
    return session


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_transcript_whole(transcript: Transcript) -> None:
    play(transcript, HELPER, whole)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_transcript_byte_by_byte(transcript: Transcript) -> None:
    play(transcript, HELPER, bytewise)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_transcript_cut_at_random(transcript: Transcript, seed: int) -> None:
    play(transcript, HELPER, randomly(seed))
