"""FTP. Conversations are in tests/transcripts/ftp, one behaviour a file; here is what a transcript cannot say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from pydantic import TypeAdapter, ValidationError

from protocols.contract.addresses import Endpoint, Peers, Side
from protocols.contract.effects import Send
from protocols.contract.pinholes import Closed, Grant, Used
from protocols.ftp.engine import HELPER, FtpEngine
from protocols.ftp.options import FtpOptions
from protocols.ftp.queue import MAX_PENDING
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import (
    NETWORKS,
    Session,
    endpoint,
    render,
)

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def start(network: str = "none", options: FtpOptions | None = None, is_logged_in: bool = True) -> Session:
    session = Session.of(HELPER, NETWORKS[network], options)
    session.server(b"220 ready")
    if is_logged_in:
        session.client(b"USER u")
        session.server(b"230 in")
    session.effects.clear()
    return session


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
    assert session.pinholes.expected()[0].expect.target == endpoint("10.0.0.5:50000")
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


FOREIGN = [
    b"GET / HTTP/1.1",
    b"OPTIONS / HTTP/1.1",
    b"EHLO example.org",
    b"REGISTER sip:x SIP/2.0",
    b"Host: x",
    b"X-Field:x",
    b"MAIL FROM:<a@example.org>",
    b"RCPT TO:<a@example.org>",
    b"NICK guest",
    b"CAP LS 302",
    b"PRIVMSG #x :PORT 198,51,100,2,195,80",
    b"DESCRIBE rtsp://x RTSP/1.0",
    # Any word may be a method, and any of ours.
    b"XYZZY / HTTP/1.1",
    b"FEAT / HTTP/1.0",
    b"OPTS * http/2",
    b"HELP sip:x SIP/2.0",
]


@pytest.mark.parametrize("line", [*FOREIGN, b"USER / HTTP/1.1", b"PASS / HTTP/1.1", b"USER guest 0 * :Guest"])
def test_a_first_line_of_another_protocol_closes_the_session(line: bytes) -> None:
    for blank in ((), (b"",), (b" ", b"\t")):
        session = start(is_logged_in=False)
        session.client(*blank, line, b"USER x", b"PASS y", b"PORT 198,51,100,2,195,80")
        assert session.violations() == ["ftp.not_ftp"]
        assert session.sent(SERVER) == b""
        assert session.pinholes.opened == []


@pytest.mark.parametrize("line", FOREIGN)
def test_a_line_of_another_protocol_closes_the_session_until_the_login(line: bytes) -> None:
    """Whatever the server answers meanwhile: it may be the attacker's."""
    for begin in (b"USER /", b"FEAT", b"XYZZY", b"PASS x"):
        session = start(is_logged_in=False)
        session.client(begin, line, b"USER x", b"PASS y", b"PORT 198,51,100,2,195,80")
        assert session.violations() == ["ftp.not_ftp"]
        assert session.sent(SERVER) == begin + b"\r\n"
        session = start()
        session.client(line)
        assert session.sent(SERVER) == line + b"\r\n"


@pytest.mark.parametrize(
    "line",
    [b"USER x HTTP/1.1", b"PASS HTTP/1.1", b"PASS a:b x y :z", b"ACCT SIP/2.0", b"CLNT WS_FTP/1.0", b"OPTS UTF8 ON"],
)
def test_names_and_passwords_may_be_anything(line: bytes) -> None:
    session = start(is_logged_in=False)
    session.client(b"FEAT", line)
    assert session.violations() == []
    assert session.sent(SERVER).endswith(line + b"\r\n")


@pytest.mark.parametrize("line", [b"USER x", b"auth tls", b"HOST ftp.example.org", b"CLNT x", b"XYZZY", b"XSHA256 f"])
def test_a_first_line_that_may_be_ftp_passes(line: bytes) -> None:
    session = start(is_logged_in=False)
    session.client(line)
    assert session.sent(SERVER) == line + b"\r\n"


AGREEMENTS = [
    b"PORT 198,51,100,2,195,80",
    b"EPRT |1|198.51.100.2|50000|",
    b"PASV",
    b"CPSV",
    b"P@SW",
    b"EPSV",
    b"EPSV ALL",
]


@pytest.mark.parametrize("command", AGREEMENTS)
@pytest.mark.parametrize(
    "said",
    [
        [],
        [(b"USER x", b"331 password")],
        [(b"USER x", b"331 password"), (b"PASS y", b"530 no")],
        [(b"USER x", b"331 password"), (b"PASS y", b"332 account")],
        [(b"PASS y", b"503 who")],
        [(b"USER x", b"530 no")],
        [(b"NOOP", b"230 in")],
        [(b"SITE USER x", b"230 in")],
        [(b"AUTH TLS", b"504 no")],
        [(b"USER x", b"230 in"), (b"REIN", b"220 again")],
    ],
)
def test_without_a_login_nothing_is_opened_and_nothing_asked_of_the_server(
    command: bytes, said: list[tuple[bytes, bytes]]
) -> None:
    session = start(is_logged_in=False)
    for line, reply in said:
        session.client(line)
        session.server(reply)
    session.effects.clear()
    session.client(command)
    session.server(b"227 (203,0,113,7,195,80)", b"229 ok (|||50000|)", b"200 ok")
    assert session.sent(SERVER) == b""
    assert session.sent(CLIENT).startswith(b"530 ")
    assert session.pinholes.opened == []
    assert "ftp.before_login" in session.violations()
    session.client(b"LIST")
    assert session.pinholes.opened == []


@pytest.mark.parametrize(
    "said",
    [
        [(b"USER x", b"230 in")],
        [(b"USER x", b"331 password"), (b"PASS y", b"230 in")],
        [(b"USER x", b"331 password"), (b"PASS y", b"202 superfluous")],
        [(b"USER x", b"331 password"), (b"PASS y", b"332 account"), (b"ACCT z", b"230 in")],
        [(b"AUTH TLS", b"534 no"), (b"USER x", b"230-hello\r\n230 in")],
        [(b"HOST x", b"220 ok"), (b"XYZZY", b"500 what"), (b"USER x", b"232 in")],
    ],
)
def test_after_any_kind_of_login_agreements_are_made(said: list[tuple[bytes, bytes]]) -> None:
    session = start(is_logged_in=False)
    for line, reply in said:
        session.client(line)
        session.server(reply)
    session.client(b"PASV")
    session.server(b"227 (203,0,113,7,195,80)")
    assert len(session.pinholes.opened) == 1


@pytest.mark.parametrize("line", FOREIGN)
def test_a_login_in_front_of_a_request_of_another_protocol_opens_nothing(line: bytes) -> None:
    """Into the method or the path of HTTP some clients can be made to put line ends."""
    session = start(is_logged_in=False)
    session.client(b"USER x", b"PASS y", b"PORT 198,51,100,2,195,80", b"NOOP", b"", line, b"\xff")
    session.server(b"331 password", b"230 in")
    assert session.violations() == ["ftp.not_ftp"]
    assert session.pinholes.opened == []
    assert session.sent(SERVER) == b"USER x\r\nPASS y\r\n"


def test_commands_behind_one_that_waits_for_the_login_are_bounded() -> None:
    session = start(is_logged_in=False)
    session.client(b"USER x", b"PASV", *[b"NOOP " + b"x" * 1000] * 16)
    assert not session.is_over
    session.client(b"NOOP " + b"x" * 1000)
    assert session.violations() == ["ftp.too_many_pending"]
    assert session.sent(SERVER) == b"USER x\r\n"


def test_the_server_ends_while_commands_wait_for_the_login() -> None:
    session = start(is_logged_in=False)
    session.client(b"USER x", b"PASV", b"NOO")
    session.eof(CLIENT)
    assert render(session.effects) == ["-> server: USER x"]
    session.eof(SERVER)
    assert sorted(render(session.effects)[1:]) == ["finish client", "finish server"]
    assert list(session.engine.receive(CLIENT, b"P\r\n", 1.0)) == []


# -- replies in their turn -----------------------------------------------------------------------------------------


SWALLOWED = [
    b"NOOP",
    b"STAT",
    b"ABOR",
    b"ALLO 5",
    b"SITE UMASK 022",
    b"TYPE I",
    b"CWD x",
    b"SIZE x",
    b"OPTS UTF8 ON",
    b"XYZZY",
]


@pytest.mark.parametrize("network", ["none", "snat", "dnat", "none6", "4to6", "6to4"])
@pytest.mark.parametrize("command", SWALLOWED)
@pytest.mark.parametrize("count", [1, 5])
def test_commands_that_a_server_swallows_do_not_keep_a_passive_port_shut(
    network: str, command: bytes, count: int
) -> None:
    session = start(network)
    session.client(*[command] * count, b"EPSV")
    asked = session.sent(SERVER).splitlines()[-1]
    session.server(b"229 ok (|||50000|)" if asked == b"EPSV" else b"227 (203,0,113,7,195,80)")
    assert len(session.pinholes.opened) == 1
    assert session.violations() in (["ftp.no_reply"], ["ftp.no_reply", "ftp.pasv_mismatch"], ["ftp.pasv_mismatch"], [])
    session.client(b"NOOP")
    session.effects.clear()
    session.server(b"200 ok")
    assert session.violations() == []


@pytest.mark.parametrize("command", [command for command in SWALLOWED if command != b"ABOR"])
@pytest.mark.parametrize("count", [1, 5])
def test_commands_that_a_server_swallows_do_not_keep_an_active_port_shut(command: bytes, count: int) -> None:
    session = start()
    session.client(*[command] * count, b"PORT 198,51,100,2,195,80")
    session.server(b"200 fine")
    session.client(b"RETR x")
    session.server(b"150 go")
    session.use(1)  # which fails as long as nobody is let in
    assert session.violations() == ["ftp.no_reply"]


@pytest.mark.parametrize("keep_alives", [[b"NOOP"], [b"NOOP", b"PWD", b"TYPE I", b"STAT", b"XNOP", b"SITE IDLE"]])
@pytest.mark.parametrize("are_answered", [False, True])
def test_a_transfer_may_last_for_any_number_of_keep_alives(keep_alives: list[bytes], are_answered: bool) -> None:
    """Whether a server swallows them, or answers all of them at the transfer's end."""
    session = start()
    session.client(b"PASV")
    session.server(b"227 (203,0,113,7,195,80)")
    session.client(b"RETR x")
    session.server(b"150 go")
    session.use(1)
    said = keep_alives * 300
    for command in said:
        session.client(command)
    assert session.sent(SERVER).count(b"\r\n") == len(said) + 2
    session.end(1, 0, 5)
    session.server(b"226 done", *[b"200 ok"] * (len(said) if are_answered else 0))
    session.client(b"CWD x", b"TYPE I", b"PASV")
    session.server(b"250 done", b"200 ok", b"227 (203,0,113,7,195,81)")
    assert len(session.pinholes.opened) == 2
    assert [note["result"] for note in session.notes("ftp.transfer")] == [226]
    assert not session.is_over


@pytest.mark.parametrize(("code", "seconds"), [(b"226", 60), (b"426", 5)])
def test_a_command_that_nobody_knows_leaves_no_pinhole_behind(code: bytes, seconds: int) -> None:
    """The server went ahead as with a transfer, and no data came."""
    session = start()
    session.client(b"PASV")
    session.server(b"227 (203,0,113,7,195,80)")
    session.client(b"XYZZY x")
    session.server(b"150 go")
    session.wait(1000)
    assert len(session.pinholes.standing) == 1
    session.server(code + b" done")
    session.wait(seconds + 1)
    assert not session.pinholes.standing


def test_keep_alives_that_no_transfer_waits_for_are_bounded() -> None:
    session = start()
    session.client(b"PASV", b"RETR x", *[b"NOOP"] * MAX_PENDING)
    assert session.violations() == ["ftp.too_many_pending"]


@pytest.mark.parametrize("extra", [b"200 ok", b"226 done", b"225 nothing", b"250 ok", b"211-status\r\n x\r\n211 end"])
@pytest.mark.parametrize("times", [1, 3])
def test_replies_that_come_twice_do_not_keep_a_passive_port_shut(extra: bytes, times: int) -> None:
    session = start()
    session.client(b"PASV")
    session.server(*[extra] * times)
    assert session.sent(CLIENT) == (extra + b"\r\n") * times
    session.server(b"227 (203,0,113,7,195,80)")
    assert len(session.pinholes.opened) == 1


def test_auth_is_agreed_to_behind_a_noop_without_a_reply() -> None:
    session = start()
    session.client(b"NOOP", b"AUTH TLS")
    session.server(b"234 go")
    session.receive(CLIENT, b"\x16\x03\x01")
    assert render(session.effects)[-1] == "splice 3600"


@pytest.mark.parametrize("said_by_client", [(b"QUIT",), (b"NOOP", b"QUIT"), ()], ids=["quit", "busy", "half-closed"])
@pytest.mark.parametrize("more", [(b"200 Logout.",), (b"226 done", b"200 Logout."), (b"221-bye", b"221 Goodbye")])
def test_what_a_server_says_behind_its_good_bye_is_nobodys_fault(
    said_by_client: tuple[bytes, ...], more: tuple[bytes, ...]
) -> None:
    session = start()
    session.client(*said_by_client)
    if not said_by_client:
        session.eof(CLIENT)
    session.server(*(b"200 ok",) * (len(said_by_client) - 1), b"221 bye", *more)
    assert session.sent(CLIENT).endswith(b"".join(line + b"\r\n" for line in more))
    assert session.violations() == []


@pytest.mark.parametrize("more", [b"500 OOPS: vsf_sysutil_recv_peek: no data", b"200 Logout.", b"221 Goodbye"])
def test_what_a_server_says_behind_421_is_nobodys_fault(more: bytes) -> None:
    """It may say so at any moment, and the client has asked for nothing."""
    session = start()
    session.server(b"421 Timeout.", more)
    assert session.sent(CLIENT) == b"421 Timeout.\r\n" + more + b"\r\n"
    assert session.violations() == []


def test_a_reply_that_nobody_waits_for_is_noted_while_the_session_goes_on() -> None:
    session = start()
    session.server(b"200 Logout.", b"200 Logout.")
    assert session.violations() == ["ftp.unsolicited_reply"]


def test_the_greeting_is_the_first_reply_whatever_its_code() -> None:
    session = Session.of(HELPER, NETWORKS["none"])
    session.client(b"USER x")
    session.server(b"230 hello")
    session.client(b"PASV")
    assert b"PASV" not in session.sent(SERVER)
    session.server(b"331 password")
    assert session.pinholes.opened == []


# -- clocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "line"), [(CLIENT, b"CWD " + b"a" * 4000), (SERVER, b"220-" + b"a" * 4000)])
@pytest.mark.parametrize("is_logged_in", [False, True])
def test_a_line_that_never_ends_does_not_stop_the_clock(side: Side, line: bytes, is_logged_in: bool) -> None:
    """A byte a second, for as long as lines may be."""
    session = start(is_logged_in=is_logged_in, options=FtpOptions(idle=600))
    for byte in line:
        session.wait(1)
        session.receive(side, bytes((byte,)))
        if session.is_over:
            break
    assert render(session.effects)[-1] == ("abort idle" if is_logged_in else "abort login_timeout")
    assert session.now <= 602


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(SERVER, b"120 soon\r\n")],
        [(SERVER, b"220-half a greeting\r\n")],
        [(SERVER, b"220 ready\r\n"), (CLIENT, b"USER x\r\nPASS y\r\nPASV\r\n")],
        [(SERVER, b"220 ready\r\n"), (CLIENT, b"AUTH TLS\r\n")],
        [(SERVER, b"220 ready\r\n"), (CLIENT, b"AUTH TLS\r\n"), (SERVER, b"234 go\r\n")],
        [(SERVER, b"220 ready\r\n"), (CLIENT, b"USER x\r\n"), (SERVER, b"230 in\r\n"), (CLIENT, b"PASV\r\n")],
        [(SERVER, b"220 ready\r\n"), (CLIENT, b"USER x\r\n"), (SERVER, b"230 in\r\n"), (CLIENT, b"REIN\r\n")],
        [(SERVER, b"220 ready\r\n"), (CLIENT, b"USER x\r\n"), (SERVER, b"230 in\r\n211-status\r\n")],
    ],
)
def test_every_state_has_a_clock(said: list[tuple[Side, bytes]]) -> None:
    session = Session.of(HELPER, NETWORKS["none"], FtpOptions(idle=600))
    for side, data in said:
        session.receive(side, data)
    for ends in (None, CLIENT, SERVER):
        if ends is not None:
            session.eof(ends)
        deadline = session.engine.deadline()
        assert deadline is not None and deadline <= session.now + 600
    session.wait(700)
    assert session.is_over


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
    return session.pinholes.expected()[0]


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
    session.client(b"USER u")
    session.server(b"230 in")
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
    assert session.pinholes.expected()[0].listen == Endpoint(endpoint("198.51.100.2:0").host, 20)


def test_passwords_never_reach_a_note() -> None:
    session = start(options=FtpOptions(commands_denied=("ACCT",)))
    session.client(b"USER u", b"PASS hunter2", b"ACCT hunter2", b"PASShunter2", b"PASS \xff\xf1hunter2")
    session.server(b"331 p", b"530 no", b"500 what", b"230 in")
    session.client(b"PASS hunter2\0")
    assert session.violations() == ["ftp.command_denied", "ftp.nul"]
    assert "hunter2" not in repr(session.notes("violation") + session.notes("ftp.login"))


def test_neighbouring_sends_are_one_effect() -> None:
    session = start()
    session.client(b"CWD a", b"PWD", b"PASV")
    assert session.effects == [Send(SERVER, b"CWD a\r\nPWD\r\nPASV\r\n")]


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
