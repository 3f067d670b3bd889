"""Sessions of IRC (protocols/irc/engine.py, exchange.py, ways.py): what transcripts cannot say."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Side, Transport
from protocols.contract.effects import Abort, Copy, Note, Splice
from protocols.contract.pinholes import Closed, Grant, Used
from protocols.irc.engine import HELPER, IrcEngines
from protocols.irc.options import IrcOptions
from protocols.irc.ways import IDLE_SECONDS, MAX_WAITING_OF_CLIENT
from tests.harness.playbook import NETWORKS, Session, on

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def begun(network: str = "snat", engines: IrcEngines | None = None, **options: Any) -> Session:
    """A session of a client that its server has not let in yet."""
    session = Session.of(HELPER, on(NETWORKS[network], HELPER, Transport.TCP))
    chosen = IrcOptions(**{"dcc": "allow", **options})
    peers = on(NETWORKS[network], HELPER, Transport.TCP)
    session.engine = (engines or IrcEngines())(peers, chosen, session.pinholes, 0.0)
    return session


def registered(network: str = "snat", engines: IrcEngines | None = None, **options: Any) -> Session:
    session = begun(network, engines, **options)
    session.client(b"NICK alice", b"USER al 0 * :Alice")
    session.server(b":irc.example 001 alice :Welcome")
    return session


def offer(port: int, name: str = "file") -> bytes:
    return b"PRIVMSG bob :\x01DCC SEND %b 167837698 %d 1\x01" % (name.encode(), port)


def opened(session: Session) -> list[Grant]:
    return [grant for grant in session.pinholes.opened if isinstance(grant, Grant)]


@pytest.mark.parametrize("network", ["none", "snat", "dnat", "none6", "snat6", "dnat6", "4to6", "6to4"])
@pytest.mark.parametrize(("words", "purpose"), [("SEND file", "irc-send"), ("CHAT chat", "irc-chat")])
def test_an_offer_opens_one_way_to_the_client_where_others_know_it(network: str, words: str, purpose: str) -> None:
    """IR13, IR14."""
    session = registered(network)
    peers = on(NETWORKS[network], HELPER, Transport.TCP)
    own = peers.client.host
    said = str(int(own)) if own.version == 4 else str(own)
    session.client(f"PRIVMSG bob :\x01DCC {words} {said} 5000\x01".encode())
    (grant,) = opened(session)
    expect = grant.expect
    assert (expect.purpose, expect.uses, expect.open_seconds) == (purpose, 1, 120.0)
    assert expect.idle_seconds == IDLE_SECONDS[purpose]
    assert (expect.target.host, expect.target.port) == (own, 5000)
    assert expect.listen.host == peers.client_as_seen.host
    assert expect.listen.port == (0 if peers.is_mapped(CLIENT) else 5000)
    family = peers.client_as_seen.host.version
    assert expect.allow == (ip_network("0.0.0.0/0" if family == 4 else "::/0"),)
    assert (expect.source is None) == (not peers.is_mapped(SERVER))
    assert expect.source is None or expect.source.host == peers.server_as_seen.host
    seen = peers.client_as_seen.host
    known_as = str(int(seen)) if seen.version == 4 else str(seen)
    assert session.sent(SERVER).endswith(
        f"PRIVMSG bob :\x01DCC {words} {known_as} {grant.listen.port}\x01\r\n".encode()
    )


def test_all_sessions_of_a_client_together_may_have_a_few_offers_waiting() -> None:
    engines = IrcEngines()
    sessions = [registered(engines=engines) for _ in range(5)]
    for session in sessions:
        for port in range(5000, 5008):
            session.client(offer(port))
    assert engines.standing() == {"offers": MAX_WAITING_OF_CLIENT}
    assert sessions[-1].violations() == ["irc.too_many"] * 8
    other = registered("none", engines)
    other.client(b"PRIVMSG bob :\x01DCC SEND file 3325256706 5000 1\x01")
    assert len(opened(other)) == 1
    sessions[0].close()
    assert engines.standing() == {"offers": MAX_WAITING_OF_CLIENT - 8 + 1}
    sessions[-1].client(offer(5000))
    assert len(opened(sessions[-1])) == 1


def test_offers_of_strangers_do_not_take_the_places_of_the_clients_own() -> None:
    session = registered(inbound="open", max_waiting=2)
    for port in range(5000, 5004):
        session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 %d\x01" % port)
    assert [note["result"] for note in session.notes("irc.dcc")] == ["opened", "opened", "refused", "refused"]
    session.client(offer(6000), offer(6001))
    assert len(opened(session)) == 4
    assert session.violations() == []


def test_a_stranger_that_offers_again_has_one_way() -> None:
    session = registered(inbound="open")
    for _ in range(2):
        session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 5000\x01")
    assert len(opened(session)) == 1


def test_a_stranger_leads_nobody_to_a_host_that_the_server_could_not_be_at() -> None:
    """IR17: what decides is known to the driver (`Pinholes.may_wait`)."""
    session = registered(inbound="open")
    session.pinholes.unroutable = (ip_network("203.0.113.104/32"),)
    session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 5000\x01")
    assert [note.get("reason") for note in session.notes("irc.dcc")] == ["third_host"]
    assert opened(session) == []


def test_a_published_server_leads_nobody_to_hosts_beside_it() -> None:
    session = registered("dnat", inbound="open")
    session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 167772165 5000\x01")
    session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 167772170 5000\x01")
    assert [note["result"] for note in session.notes("irc.dcc")] == ["opened", "refused"]


def test_strangers_offer_only_what_the_options_name() -> None:
    session = registered(inbound="open", types=("send",))
    session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 5000\x01")
    assert [note.get("reason") for note in session.notes("irc.dcc")] == ["type_denied"]


@pytest.mark.parametrize("options", [{"inbound": "ignore"}, {"inbound": "open", "dcc": "deny"}])
def test_offers_of_strangers_pass_and_are_told(options: dict[str, Any]) -> None:
    session = registered(**options)
    session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 5000\x01")
    assert [note["result"] for note in session.notes("irc.dcc")] == ["passed"]
    assert opened(session) == []


def test_a_line_of_a_stranger_that_is_too_long_is_not_read() -> None:
    session = registered(inbound="open")
    session.server(b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 5000\x01" + b"x" * 500)
    assert session.notes("irc.dcc") == []


def test_nothing_is_opened_once_a_side_has_ended() -> None:
    """IR18."""
    for side in Side:
        session = registered(inbound="open")
        session.eof(side)
        session.receive(CLIENT, offer(5000) + b"\r\n")
        session.receive(SERVER, b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 5000\x01\r\n")
        assert opened(session) == []


def test_the_engine_is_needed_for_as_long_as_a_connection_of_users_lasts() -> None:
    session = registered()
    session.client(offer(5000, "a"), offer(5001, "b"))
    session.use(1)
    session.close()
    assert list(session.pinholes.standing) == [1]
    assert not session.is_dissolved
    session.end(1, 4, 100)
    assert session.is_dissolved
    (told,) = session.notes("irc.transfer")
    assert (told["file"], told["bytes_in"], told["bytes_out"], told["result"]) == (b"a", 4, 100, "finished")


def test_who_is_not_followed_to_the_end_is_told_with_what_is_known() -> None:
    session = registered()
    session.client(offer(5000))
    session.use(1)
    (note,) = session.engine.stop(1.0)
    assert isinstance(note, Note)
    assert (note.event, note.facts["bytes_out"], note.facts["result"]) == ("irc.transfer", None, "unfinished")


def test_tls_in_the_middle_of_a_session_leaves_nothing_open() -> None:
    session = registered()
    session.client(offer(5000), offer(5001))
    session.use(1)
    session.client(b"STARTTLS")
    session.receive(SERVER, b":irc.example 670 alice :go on\r\n\x16")
    assert session.effects[-1] == Splice(3600.0)
    assert session.sent(CLIENT).endswith(b"\r\n\x16")
    assert "close 2" in session.pinholes.log
    assert [note["result"] for note in session.notes("irc.transfer")] == ["unfinished"]


def test_tls_of_a_client_whose_server_has_ended_is_no_session() -> None:
    session = begun()
    session.eof(SERVER)
    session.receive(CLIENT, b"\x16\x03")
    assert session.effects[-1] == Abort("half_closed")


@pytest.mark.parametrize("options", [{"tls": "deny"}, {"starttls": "hide"}])
def test_a_client_is_refused_starttls(options: dict[str, Any]) -> None:
    session = begun(**options)
    session.client(b"CAP LS", b"STARTTLS", b"NICK alice")
    assert session.sent(CLIENT) == b"691 * :STARTTLS is not available\r\n"
    assert session.sent(SERVER) == b"CAP LS\r\nNICK alice\r\n"
    session.server(b":irc.example CAP * LS :multi-prefix")
    assert session.sent(CLIENT).endswith(b":irc.example CAP * LS :multi-prefix\r\n")


def test_numerics_that_nobody_has_asked_for_end_nothing() -> None:
    session = begun()
    session.client(b"NICK alice")
    session.server(b":irc.example 670 * :go on", b":irc.example 691 * :no")
    assert not session.is_over


def test_blank_lines_may_come_first_and_odd_ones_later() -> None:
    session = begun()
    session.client(b"", b"NICK alice", b"\x01odd", b"")
    session.server(b"", b"\x01odd")
    assert session.sent(SERVER) == b"\r\nNICK alice\r\n\x01odd\r\n\r\n"
    assert session.sent(CLIENT) == b"\r\n\x01odd\r\n"
    assert not session.is_over


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1", b"PRIVMSG bob :hello", b"Host: x", b"\x00", b"REGISTER sip:x SIP/2.0"]
)
def test_who_begins_otherwise_is_closed_without_an_answer(first: bytes) -> None:
    """IR3."""
    session = begun()
    session.client(first)
    assert isinstance(session.effects[-1], Abort)
    assert session.sent(SERVER) == b""
    assert b"\x00" in first or session.sent(CLIENT) == b""


def test_what_is_left_without_a_line_end_goes_on_at_the_end() -> None:
    session = registered()
    session.receive(CLIENT, offer(5000))
    session.eof(CLIENT)
    session.receive(SERVER, b"ERROR :Clo")
    session.eof(SERVER)
    assert session.sent(SERVER).endswith(offer(5000))
    assert session.sent(CLIENT).endswith(b"ERROR :Clo")
    assert opened(session) == []


def test_a_nul_at_the_end_is_none_the_better() -> None:
    session = registered()
    session.receive(CLIENT, b"QUIT \0")
    session.eof(CLIENT)
    assert session.effects[-1] == Abort("nul")


def test_a_server_that_has_ended_is_told_nothing_of_a_bad_line() -> None:
    session = registered()
    session.eof(SERVER)
    session.client(b"PRIVMSG bob :\0")
    assert session.effects[-1] == Abort("nul")
    assert b"ERROR" not in session.sent(CLIENT)


def test_a_notice_is_hidden_only_where_it_stays_whole() -> None:
    """IR12: our address may be longer."""
    session = registered(hide=True)
    notice = b"NOTICE bob :DCC Send " + b"n" * 475 + b" (10.1.0.2)"
    session.client(notice, b"NOTICE bob", b"NOTICE bob :other (10.1.0.2)")
    assert session.sent(SERVER).endswith(notice + b"\r\nNOTICE bob\r\nNOTICE bob :other (10.1.0.2)\r\n")


def test_without_nat_nothing_is_hidden() -> None:
    session = registered("none", hide=True)
    lines = b"NOTICE bob :DCC Send f (198.51.100.2)", b"PRIVMSG bob :\x01DCC SEND f 3325256706 0 1 7\x01"
    session.client(*lines)
    assert session.sent(SERVER).endswith(b"\r\n".join(lines) + b"\r\n")


def test_resume_without_nat_stays_as_it_is() -> None:
    session = registered("none")
    session.client(b"PRIVMSG bob :\x01DCC SEND file 3325256706 5000 1\x01")
    session.server(b":bob!b@c PRIVMSG alice :\x01DCC RESUME file 5000 1\x01")
    assert session.sent(CLIENT).endswith(b"DCC RESUME file 5000 1\x01\r\n")
    assert session.notes("address.rewritten") == []


def test_accept_of_a_port_that_was_not_offered_stays_as_it_is() -> None:
    session = registered()
    session.client(b"PRIVMSG bob :\x01DCC ACCEPT file 5000 1\x01")
    session.server(
        b":alice!a@b PRIVMSG bob :\x01DCC ACCEPT file 5000 1\x01", b":alice!a@b PRIVMSG bob :\x01DCC REJECT x\x01"
    )
    assert session.sent(SERVER).endswith(b"ACCEPT file 5000 1\x01\r\n")


def test_of_two_ways_to_read_an_offer_the_one_that_names_the_client_counts() -> None:
    session = registered()
    session.client(b"PRIVMSG bob :\x01DCC SEND a 16843009 4000 167837698 5000\x01")
    (note,) = session.notes("irc.dcc")
    assert (note["file"], note["result"]) == (b"a 16843009 4000", "opened")


def test_what_is_traced_has_no_secrets() -> None:
    secret = HELPER.secret
    assert secret is not None
    for line in (
        b"PASS sesame\r\n", b"OPER root sesame", b"@a=b AUTHENTICATE sesame", b"privmsg nickserv :identify sesame",
        b":alice PASS sesame", b"NickServ identify sesame", b"  PASS sesame", b"REGISTER * * sesame",
        b"PRIVMSG Q@CServe.quakenet.org :AUTH alice sesame", b"PRIVMSG X@channels.undernet.org :login alice sesame",
    ):  # fmt: skip
        assert b"sesame" not in secret.sub(rb"\1", line)
    for line in (b"PRIVMSG bob :sesame", b"PRIVMSG Quentin :sesame"):
        assert secret.sub(rb"\1", line) == line


def test_copies_are_made_of_whole_lines_while_they_are_wanted() -> None:
    session = begun()
    session.engine.copy(True)
    session.receive(CLIENT, b"NICK al")
    session.receive(CLIENT, b"ice\r\n")
    session.engine.copy(True)
    session.engine.copy(False)
    session.client(b"USER al 0 * :Alice")
    copies = [effect for effect in session.effects if isinstance(effect, Copy)]
    assert copies == [Copy(CLIENT, True, b"NICK alice\r\n", b""), Copy(SERVER, False, b"NICK alice\r\n", b"")]


def test_a_long_line_that_comes_in_pieces_is_copied_whole() -> None:
    """A rest of it would be shown without the word that tells it for a password."""
    session = begun()
    session.engine.copy(True)
    line = b"@a=%b PASS sesame\r\n" % (b"x" * 8300)
    for part in (line[:8250], line[8250:]):
        session.receive(CLIENT, part)
    copies = [effect for effect in session.effects if isinstance(effect, Copy) and effect.has_come]
    assert copies == [Copy(CLIENT, True, line, b"")]


def test_a_session_is_idle_only_when_no_side_says_anything() -> None:
    session = registered(idle=300.0)
    session.wait(200.0)
    session.server(b"PING :irc.example")
    session.wait(200.0)
    assert not session.is_over
    assert session.engine.tick(session.now) == []
    session.wait(200.0)
    assert session.effects[-1] == Abort("idle")


def test_words_of_strangers_that_concern_no_way_pass() -> None:
    session = registered(inbound="open")
    lines = (
        b":bob!b@c PRIVMSG alice :\x01DCC CHAT chat 3405803880 5000\x01",
        b":bob!b@c PRIVMSG alice :\x01DCC RESUME file 5000 1\x01",
        b":bob!b@c PRIVMSG alice :\x01DCC GET file 5000 1\x01",
        b":bob!b@c PRIVMSG alice :\x01DCC SEND file\x01",
    )
    session.server(*lines)
    assert session.sent(CLIENT).endswith(b"\r\n".join(lines) + b"\r\n")
    session.client(b"PRIVMSG bob :\x01DCC ACCEPT file 5000 1\x01")
    assert session.sent(SERVER).endswith(b"ACCEPT file 5000 1\x01\r\n")


def test_events_that_come_late_change_nothing() -> None:
    session = registered()
    session.client(offer(5000))
    (grant,) = opened(session)
    session.client(b"PRIVMSG bob :\0")
    assert session.engine.pinhole(grant, Used(grant.listen), 1.0) == ()
    assert session.engine.pinhole(grant, Closed("never_used", 0, 0, 1.0), 1.0) == ()
    assert session.engine.eof(CLIENT, 1.0) == ()
    assert not session.engine.is_needed()
