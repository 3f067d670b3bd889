"""FTP. Conversations are in tests/transcripts/ftp, one behaviour a file; here is what a transcript cannot say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from pydantic import TypeAdapter, ValidationError

from protocols.engine import Closed, Endpoint, Grant, Peers, Send, Side, Used
from protocols.ftp import HELPER, FtpEngine
from protocols.ftp_options import FtpOptions
from protocols.ftp_queue import MAX_PENDING
from tests.fake_pinholes import FakePinholes
from tests.playbook import (
    NETWORKS,
    Session,
    Transcript,
    bytewise,
    endpoint,
    play,
    randomly,
    render,
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


# -- 227 and 229 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"227 Entering Passive Mode (10,0,0,5,195,80)",
        b"227 Entering Passive Mode (10,0,0,5,195,80).",
        b"227 Entering Passive Mode. 10,0,0,5,195,80",
        b"227 10,0,0,5,195,80",
        b"227 =10,0,0,5,195,80",
        b"227 Entering Passive Mode (10, 0, 0, 5, 195, 80)",
        b"227 Entering Passive Mode (10 ,0 ,0 ,5\t,195 ,080)",
        b"227 Mode passif (actif: non) 10,0,0,5,195,80 merci",
        b"227 Wechsel in den Passivmodus (10,0,0,5,195,80), 3 Sekunden",
        b"227 seven are none 1,2,3,4,5,6,7 but (10,0,0,5,195,80)",
        b"227 \xe9\xff\xff (10,0,0,5,195,80)",
        b"227-first\r\n227 (10,0,0,5,195,80)",
    ],
)
def test_every_known_form_of_227_is_understood(text: bytes) -> None:
    session = start("dnat")
    session.client(b"PASV")
    session.server(*text.split(b"\r\n"))
    assert session.pinholes.opened[0].expect.target == endpoint("10.0.0.5:50000")
    assert b"(203,0,113,7,238,72)" in session.sent(CLIENT)
    assert b"10" not in session.sent(CLIENT)


@pytest.mark.parametrize(
    "text",
    [
        b"227 nothing",
        b"227",
        b"227 (10,0,0,5,195)",
        b"227 (10,0,0,5,195,80,1)",
        b"227 (10,0,0,5,195,80 , 1)",
        b"227 (9, 10,0,0,5,195,80)",
        b"227 (10,0,0,5,195,256)",
        b"227 (1000,0,0,5,195,80)",
        b"227 (10,0,0,5,0,0)",
        b"227 (10.0.0.5:50000)",
        "227 (\u0661\u0660,0,0,5,195,80)".encode(),
    ],
)
def test_a_227_without_six_numbers_is_answered_425_and_its_text_stays_here(text: bytes) -> None:
    session = start("dnat")
    session.client(b"PASV")
    session.server(text)
    assert session.sent(CLIENT) == b"425 Can't open data connection.\r\n"
    assert session.violations() == ["ftp.bad_227"]
    assert session.pinholes.opened == []


@pytest.mark.parametrize("mark", [b"|", b"!", b"~", b"#", b"$"])
def test_229_takes_any_delimiter(mark: bytes) -> None:
    session = start("dnat")
    session.client(b"EPSV")
    session.server(b"229 ok (" + mark * 3 + b"50000" + mark + b")")
    assert session.sent(CLIENT) == b"229 ok (" + mark * 3 + b"61000" + mark + b")\r\n"


# -- what is refused -----------------------------------------------------------------------------------------------


def test_500_commands_that_name_a_third_host_open_nothing_and_reach_nobody() -> None:
    session = start()
    session.client(*(b"PORT 10,0,0,200,78,%d" % (number % 256) for number in range(500)))
    assert session.sent(SERVER) == b""
    assert session.sent(CLIENT).count(b"504 ") == 500
    assert session.pinholes.opened == []
    assert not session.is_over


def test_more_than_64_commands_without_a_reply_end_the_session() -> None:
    session = start()
    session.client(*[b"NOOP"] * MAX_PENDING)
    assert not session.is_over
    session.client(b"NOOP")
    assert session.sent(SERVER) == b"NOOP\r\n" * MAX_PENDING
    assert session.sent(CLIENT) == b"421 Too many commands at once.\r\n"
    assert render(session.effects)[-1] == "abort too_many_pending"


def test_auth_is_not_sent_when_too_many_commands_wait() -> None:
    session = start()
    session.client(*[b"NOOP"] * MAX_PENDING, b"AUTH TLS")
    assert b"AUTH" not in session.sent(SERVER)
    assert session.is_over


def test_a_refusal_of_ours_counts_among_the_waiting_commands() -> None:
    session = start()
    session.client(*[b"NOOP"] * MAX_PENDING, b"LPSV")
    assert render(session.effects)[-1] == "abort too_many_pending"


def test_a_10000_byte_line_is_answered_500() -> None:
    session = start()
    session.client(b"CWD " + b"x" * 10_000)
    assert session.sent(CLIENT) == b"500 Line too long.\r\n"
    assert session.sent(SERVER) == b""


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1", b"OPTIONS / HTTP/1.1", b"EHLO example.org", b"REGISTER sip:x SIP/2.0", b"Host: x", b""]
)
def test_a_first_line_of_another_protocol_closes_the_session(line: bytes) -> None:
    session = start()
    session.client(line, b"PORT 198,51,100,2,195,80")
    assert session.violations() == ["ftp.not_ftp"]
    assert session.sent(CLIENT) == session.sent(SERVER) == b""
    assert session.pinholes.opened == []


@pytest.mark.parametrize("line", [b"USER x", b"auth tls", b"HOST ftp.example.org", b"CLNT x", b"XYZZY", b"XSHA256 f"])
def test_a_first_line_that_may_be_ftp_passes(line: bytes) -> None:
    session = start()
    session.client(line)
    assert session.sent(SERVER) == line + b"\r\n"


def test_bytes_glued_behind_the_reply_to_auth_are_injection() -> None:
    session = start()
    session.client(b"AUTH TLS")
    session.server(b"234 go", b"230 you are in")
    assert session.violations() == ["ftp.tls_injection"]
    assert b"230" not in session.sent(CLIENT)


def test_nothing_is_done_after_the_end() -> None:
    session = start()
    session.client(b"AUTH TLS")
    session.server(b"234 go")
    session.receive(CLIENT, b"\x16\x03")
    assert session.is_over
    engine, grant = session.engine, _grant()
    assert engine.receive(CLIENT, b"NOOP\r\n", 1) == ()
    assert engine.eof(CLIENT, 1) == ()
    assert engine.tick(1e9) == ()
    assert engine.pinhole(grant, Used(endpoint("192.0.2.1:1")), 1) == ()
    assert engine.deadline() is None


def test_events_of_unknown_pinholes_change_nothing() -> None:
    session = start()
    assert list(session.engine.pinhole(_grant(), Closed("never_used", 0, 0, 60.0), 1.0)) == []


def test_the_end_of_one_side_is_passed_on_once() -> None:
    session = start()
    session.eof(CLIENT)
    session.eof(CLIENT)
    assert render(session.effects) == ["finish server"]
    assert list(session.engine.receive(CLIENT, b"NOOP\r\n", 1.0)) == []


def test_replies_go_on_after_the_clients_end() -> None:
    session = start()
    session.client(b"NOOP")
    session.eof(CLIENT)
    session.server(b"200 ok")
    assert session.sent(CLIENT) == b"200 ok\r\n"


def _grant() -> Grant:
    session = start()
    session.client(b"PORT 198,51,100,2,195,80")
    return session.pinholes.opened[0]


# -- what is opened ------------------------------------------------------------------------------------------------


def test_a_pinhole_that_ends_while_it_is_confirmed_is_no_agreement() -> None:
    class Vanishing(FakePinholes):
        def confirm(self, grant: Grant) -> None:
            super().confirm(grant)
            del self.standing[grant.id]
            self.report(grant, Closed("no_descriptors", 0, 0, 0.0))

    session = start()
    pinholes = Vanishing()
    pinholes.report = session.pinholes.report
    engine = FtpEngine(NETWORKS["none"], FtpOptions(default_data_port=False), pinholes, 0.0)
    session.engine, session.pinholes = engine, pinholes
    session.server(b"220 ready")
    session.client(b"PORT 198,51,100,2,195,80", b"LIST")
    session.server(b"200 ok", b"150 go", b"425 no")
    assert pinholes.log[1:] == ["confirm 1"]
    assert [note["result"] for note in session.notes("ftp.transfer")] == [425]


def test_a_client_port_below_the_lowest_is_no_default_data_port() -> None:
    low = Peers(
        endpoint("198.51.100.2:20"), endpoint("198.51.100.2:20"), endpoint("203.0.113.7:21"), endpoint("203.0.113.7:21")
    )
    session = Session.of(HELPER, low)
    session.server(b"220 ready")
    session.client(b"LIST")
    assert session.pinholes.opened == []
    assert session.sent(SERVER) == b"LIST\r\n"


def test_a_lower_port_may_be_allowed() -> None:
    session = start(options=FtpOptions(min_port=20))
    session.client(b"PORT 198,51,100,2,0,20")
    assert session.pinholes.opened[0].listen == Endpoint(endpoint("198.51.100.2:0").host, 20)


def test_passwords_never_reach_a_note() -> None:
    session = start(options=FtpOptions(commands_denied=("ACCT",)))
    session.client(b"USER u", b"PASS hunter2", b"ACCT hunter2", b"PASShunter2", b"PASS \xff\xf1hunter2")
    session.server(b"331 p", b"530 no", b"500 what", b"230 in")
    session.client(b"PASS hunter2\0")
    assert session.violations() == ["ftp.command_denied", "ftp.nul"]
    assert "hunter2" not in repr(session.notes("violation") + session.notes("ftp.login"))


def test_neighbouring_sends_are_one_effect() -> None:
    session = start()
    session.client(b"USER a", b"PASS b", b"PASV")
    assert session.effects == [Send(SERVER, b"USER a\r\nPASS b\r\nPASV\r\n")]


# -- options -------------------------------------------------------------------------------------------------------


def test_options_are_read_as_a_configuration_has_them() -> None:
    options = TypeAdapter(FtpOptions).validate_python(
        {"third_party": ["192.0.2.0/24", "2001:db8::/32"], "tls": "deny", "idle": 900, "commands_denied": ["SITE"]}
    )
    assert options == FtpOptions(
        third_party=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        tls="deny",
        idle=900.0,
        commands_denied=("SITE",),
    )
    assert TypeAdapter(FtpOptions).validate_python({}) == FtpOptions()


@pytest.mark.parametrize(
    "wrong",
    [
        {"third_party": "allow"},
        {"min_port": 0},
        {"min_port": 65536},
        {"idle": 299},
        {"login_seconds": 0},
        {"commands_denied": ["SITE EXEC"]},
        {"tls": "terminate"},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TypeAdapter(FtpOptions).validate_python(wrong)
