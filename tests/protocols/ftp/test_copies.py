"""Copies of lines for those who trace a session: of both sides, whole, and none unless somebody asks."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Copy, Send
from protocols.ftp.engine import HELPER, FtpEngine
from protocols.ftp.options import FtpOptions
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def engine(network: str = "none", is_copied: bool = True) -> FtpEngine:
    made = FtpEngine(NETWORKS[network], FtpOptions(), FakePinholes(), 0.0)
    made.copy(is_copied)
    return made


def copies(made: FtpEngine, side: Side, data: bytes) -> list[Copy]:
    return [one for one in made.receive(side, data, 0.0) if isinstance(one, Copy)]


def test_nobody_gets_copies_who_has_not_asked() -> None:
    made = engine(is_copied=False)
    assert copies(made, SERVER, b"220 ready\r\n") == []
    made.copy(True)
    made.copy(False)
    assert copies(made, CLIENT, b"USER u\r\n") == []


def test_a_line_is_copied_as_it_came_and_behind_that_as_it_went_on() -> None:
    made = engine("dnat")
    made.receive(SERVER, b"220 ready\r\n", 0.0)
    made.receive(CLIENT, b"USER u\r\n", 0.0)
    made.receive(SERVER, b"230 in\r\n", 0.0)
    made.receive(CLIENT, b"PASV\r\n", 0.0)
    reply = b"227 Entering Passive Mode (10,0,0,5,195,80)\r\n"
    came, send, went = (one for one in made.receive(SERVER, reply, 0.0) if isinstance(one, Copy | Send))
    assert came == Copy(SERVER, True, reply, b"")
    assert isinstance(send, Send)
    assert went == Copy(CLIENT, False, send.data, b"")
    assert send.data != reply


def test_half_of_a_line_is_not_copied_before_its_end_comes() -> None:
    """It may be half of a password, which nobody would know for one."""
    made = engine()
    assert copies(made, SERVER, b"220 ready\r\n")
    assert copies(made, CLIENT, b"PASS sec") == []
    assert copies(made, CLIENT, b"ret\r\n")[0].data == b"PASS secret\r\n"


def test_a_line_that_had_begun_before_somebody_asked_is_whole_as_well() -> None:
    made = engine(is_copied=False)
    made.receive(SERVER, b"220 ready\r\n", 0.0)
    made.receive(CLIENT, b"PASS sec", 0.0)
    made.copy(True)
    assert copies(made, CLIENT, b"ret\r\n")[0].data == b"PASS secret\r\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"PASS secret\r\n", b"PASS#\r\n"),
        (b"USER u\r\npass with blanks\r\nSTAT\r\n", b"USER u\r\npass#\r\nSTAT\r\n"),
        (b"ACCT number\r\n", b"ACCT#\r\n"),
        (b"  PASS x\n", b"  PASS#\n"),
        (b"PASV\r\n", b"PASV\r\n"),
        (b"RETR PASS x\r\n", b"RETR PASS x\r\n"),
    ],
)
def test_passwords_and_accounts_are_secret(line: bytes, shown: bytes) -> None:
    assert HELPER.secret is not None
    assert HELPER.secret.sub(lambda found: found[1] + b"#", line) == shown
