"""What users of IRC may be made to open, and by whom, each really tried through a locked-down gateway (rules IR3, IR4,
IR6, IR9, IR13, IR14, IR16, IR17, IR18, IR20, IR24; CVE-2022-2663, VU#230307)."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.netns.irc_talk import SECONDS, Talk, announced, comes, is_refused, number, serving, waiting
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole
from tools.peers import irc

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

CUT = b"PRIVMSG bob :\x01DCC CHAT chat "


@dataclass(frozen=True, slots=True)
class Site:
    lab: Lab
    daemon: Daemon
    heard: list[bytes]
    """What the server has heard."""
    is_hidden: bool

    @property
    def client(self) -> Host:
        return self.lab.client

    @property
    def stranger(self) -> Host:
        return self.lab.server_stranger

    def talk(self, host: Host | None = None) -> Talk:
        return Talk(host or self.client, str(self.lab.server.v4)).register()

    def quiet(self) -> None:
        self.daemon.until(sessions=0, pinholes=0)

    @contextlib.contextmanager
    def nothing_opens(self, *rules: str) -> Iterator[None]:
        """No pinhole is opened meanwhile, and these rules are broken, in this order."""
        self.quiet()
        before, opened = len(self.daemon.audit("violation")), len(self.daemon.audit("pinhole.opened"))
        yield
        self.quiet()
        assert [line["rule"] for line in self.daemon.audit("violation")[before:]] == list(rules)
        assert self.daemon.audit("pinhole.opened")[opened:] == []


OPEN = "{irc: {dcc: allow, inbound: open}}"


def configured(snat: str, options: str, others: str) -> str:
    """`options` are those of the client, `others` those of hosts beside it."""
    return f"""
session-helpers: [{{id: 1, name: irc, protocol: tcp, port: 6667}}]
policies:
  - {{name: client, from: [lan0], source: 10.1.0.2, action: accept, snat: {snat}, options: {options}}}
  - {{name: others, from: [lan0], action: accept, snat: {snat}, options: {others}}}
"""


@contextlib.contextmanager
def gateway(lab: Lab, text: str) -> Iterator[Daemon]:
    with pinhole(lab, text, unprivileged=True) as daemon:
        daemon.lock_down()
        yield daemon


@contextlib.contextmanager
def site(snat: str, options: str = OPEN, others: str = OPEN) -> Iterator[Site]:
    with (
        Lab("routed") as lab,  # whoever wants to attack the client knows the way
        gateway(lab, configured(snat, options, others)) as daemon,
        serving(lab.server) as heard,
    ):
        yield Site(lab, daemon, heard, snat != "none")


@pytest.fixture(scope="module", params=["none", "interface"])
def gate(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as gate:
        yield gate


# -- who may come ------------------------------------------------------------------------------------------------------


def test_one_stranger_comes_as_itself_and_the_log_says_who(gate: Site) -> None:
    """IR13, IR14: the first one, from anywhere, and nobody after it."""
    with gate.talk() as talk, waiting(gate.client, 5000) as listener:
        at = announced(talk.offer(5000))
        assert (at == (talk.own, 5000)) == (not gate.is_hidden)
        assert comes(gate.stranger, at, listener) == str(gate.stranger.v4)
        assert is_refused(gate.stranger, at)
        line = gate.daemon.wait_for("irc.transfer")
        assert line["peer"].startswith(f"{gate.stranger.v4}:")
        assert (line["bytes_in"], line["bytes_out"]) == (5, 3)
    gate.quiet()


def test_a_way_leads_to_the_client_that_offered_and_to_nobody_beside_it(gate: Site) -> None:
    """VU#230307: in 2002 the kernel's helper let strangers come to that port of every host inside."""
    with gate.talk() as talk, waiting(gate.lab.client_stranger, 5000):
        talk.offer(5000)
        assert is_refused(gate.stranger, (str(gate.lab.client_stranger.v4), 5000))
    gate.quiet()


def test_two_clients_offer_the_same_port_and_each_is_found(gate: Site) -> None:
    hosts = gate.client, gate.lab.client_stranger
    with (
        gate.talk(hosts[0]) as one,
        gate.talk(hosts[1]) as other,
        waiting(hosts[0], 5000) as here,
        waiting(hosts[1], 5000) as there,
    ):
        ways = [announced(talk.offer(5000)) for talk in (one, other)]
        assert ways[0] != ways[1]
        for way, listener in zip(ways, (here, there), strict=True):
            comes(gate.stranger, way, listener)
    gate.quiet()


def test_a_line_may_come_in_pieces_and_several_in_one(gate: Site) -> None:
    with gate.talk() as talk, waiting(gate.client, 5000) as one, waiting(gate.client, 5001) as other:
        said = CUT + f"{number(talk.own)} ".encode()
        for part in (said[:-4], said[-4:] + b"50", b"00\x01\r\n"):
            talk.say(part)
        comes(gate.stranger, announced(talk.heard()), one)
        talk.say(b"PING :x\r\n" + said + b"5000\x01\r\n" + said + b"5001\x01\r\n")
        assert talk.heard() == b"PING :x"
        for listener in (one, other):
            comes(gate.stranger, announced(talk.heard()), listener)
    gate.quiet()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"../x\x1b[2J", r"../x\x1b[2J"),
        (b'"../../my \x1b]0;x\x07.txt"', r"../../my \x1b]0;x\x07.txt"),
        (b'"..\\\\up\x10n\x7f"', r"..\\up\n\x7f"),
    ],
    ids=["a path", "quoted", "escaped"],
)
def test_a_name_goes_on_as_it_came_and_the_log_tells_it_without_control_bytes(
    gate: Site, name: bytes, told: str
) -> None:
    """IR7: it is for the receiver's client to judge. Whoever reads the log at a terminal sees text."""
    with gate.talk() as talk, waiting(gate.client, 5000) as listener:
        talk.say(b"PRIVMSG bob :\x01DCC SEND %b %b 5000 12345\x01\r\n" % (name, number(talk.own).encode()))
        heard = talk.heard()
        before, address, port, after = heard.rsplit(b" ", 3)
        assert (before, after) == (b"PRIVMSG bob :\x01DCC SEND " + name, b"12345\x01")
        at = socket.inet_ntoa(int(address).to_bytes(4)), int(port)
        assert (at == (talk.own, 5000)) == (not gate.is_hidden)
        comes(gate.stranger, at, listener)
    gate.quiet()
    for event in ("irc.dcc", "irc.transfer"):
        assert gate.daemon.wait_for(event, file=told)["type"] == "SEND"
    assert not re.search(rb"[^\n -~]", gate.daemon.log.read_bytes())


def test_users_behind_one_gateway_find_each_other(gate: Site) -> None:
    """With source NAT each is told of an address of the gateway's, and their answers must come back by it."""
    with gate.talk() as talk, waiting(gate.client, 5000) as listener:
        seen = comes(gate.lab.client_stranger, announced(talk.offer(5000)), listener)
        known_as = gate.lab.gateway.address(4, "lan0") if gate.is_hidden else gate.lab.client_stranger.v4
        assert seen == str(known_as)
    gate.quiet()


def test_policies_say_whether_anybody_may_come_and_who() -> None:
    """By default nothing is opened."""
    named, others = "{irc: {dcc: allow, dcc_peers: [198.51.100.2]}}", "{}"
    with site("interface", named, others) as gate:
        with gate.nothing_opens("irc.dcc_denied"), gate.talk(gate.lab.client_stranger) as talk:
            assert announced(talk.offer(5000)) == (talk.own, 5000)
        with gate.talk() as talk, waiting(gate.client, 5000) as listener:
            at = announced(talk.offer(5000))
            assert is_refused(gate.stranger, at)
            gate.daemon.wait_for("violation", rule="pinhole.stranger")
            comes(gate.lab.server, at, listener)


# -- what opens nothing ------------------------------------------------------------------------------------------------


def test_the_request_of_a_web_page_opens_nothing_and_is_not_answered(gate: Site) -> None:
    """IR3: slipstreaming."""
    own = number(str(gate.client.v4)).encode()
    before = len(gate.heard)
    with gate.nothing_opens("irc.not_irc"):
        first = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nNICK alice\r\nUSER al 0 * :x\r\n" + CUT + own + b" 5000\x01\r\n"
        with Talk(gate.client, str(gate.lab.server.v4), first) as talk:
            assert talk.is_closed()
        assert is_refused(gate.stranger, (str(gate.client.v4), 5000))
    assert gate.heard[before:] == []


def test_words_that_are_no_offer_pass_and_open_nothing(gate: Site) -> None:
    """IR6, CVE-2022-2663: the kernel's helper found them wherever they stood."""
    with gate.nothing_opens(), gate.talk() as talk:
        offer = f"\x01DCC CHAT chat {number(talk.own)} 5000\x01".encode()
        for line in (
            b"PONG :" + offer, b"PONG :x " + offer, b"TOPIC #chan :" + offer, b"NOTICE bob :" + offer,
            b"PRIVMSG bob :look: " + offer, b"PRIVMSG bob " + offer, b"QUIT :" + offer,
        ):  # fmt: skip
            talk.say(line + b"\r\n")
            assert talk.heard() == line
        talk.say(b"SAY :bob!b@c PRIVMSG alice :" + offer + b"\r\n")
        assert talk.hear().endswith(offer + b"\r\n")
        assert is_refused(gate.stranger, (talk.own, 5000))


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        ("{stranger} 5000", "irc.dcc_elsewhere"),
        ("{gateway} 5000", "irc.dcc_elsewhere"),
        ("2130706433 5000", "irc.dcc_elsewhere"),
        ("{own} 22", "irc.low_port"),
        ("{own} 3389", "irc.denied_port"),
        ("{own} 65536", "irc.bad_dcc"),
        ("{own} 70536", "irc.bad_dcc"),
        ("4462804994 5000", "irc.bad_dcc"),
        ("9999999999 5000", "irc.bad_dcc"),
    ],
)
def test_an_offer_of_what_is_not_the_clients_passes_and_opens_nothing(gate: Site, where: str, rule: str) -> None:
    """IR20, IR9: 4462804994 and 70536 are the client and port 5000 for who counts with too few bits."""
    with gate.nothing_opens(rule), gate.talk() as talk:
        known = {
            "own": number(talk.own),
            "stranger": number(str(gate.lab.client_stranger.v4)),
            "gateway": number(str(gate.lab.gateway.address(4, "lan0"))),
        }
        line = CUT + where.format(**known).encode() + b"\x01"
        talk.say(line + b"\r\n")
        assert talk.heard() == line


def test_nothing_is_opened_before_the_server_has_let_the_client_in(gate: Site) -> None:
    """IR4."""
    with (
        gate.nothing_opens("irc.not_registered"),
        Talk(gate.client, str(gate.lab.server.v4), b"NICK alice\r\n") as talk,
    ):
        talk.offer(5000)


def test_an_offer_to_a_channel_opens_nothing(gate: Site) -> None:
    """IR24."""
    with gate.nothing_opens("irc.channel_offer"), gate.talk() as talk:
        talk.offer(5000, to="#chan")


def test_a_stranger_leads_the_client_to_no_host_of_ours(gate: Site) -> None:
    """IR17: `inbound: open` opens the way to hosts on the server's side alone."""
    inside = gate.lab.client_stranger.v4, gate.lab.gateway.address(4, "lan0"), gate.lab.gateway.address(4, "wan0")
    with gate.nothing_opens(), gate.talk() as talk:
        for host in (*map(str, inside), talk.own, "127.0.0.1", "224.0.0.1", "255.255.255.255"):
            talk.say(b"SAY :bob!b@c PRIVMSG alice :\x01DCC CHAT chat %b 5000\x01\r\n" % number(host).encode())
            talk.hear()
    reasons = [line["reason"] for line in gate.daemon.audit("irc.dcc", direction="in", result="refused")[-7:]]
    assert set(reasons) <= {"third_host", "own_address"}


def test_a_script_that_offers_port_after_port_is_held_to_a_few(gate: Site) -> None:
    with gate.talk() as talk:
        before = len(gate.daemon.audit("pinhole.opened"))
        for port in range(5000, 5020):
            talk.offer(port)
        gate.daemon.wait_for("irc.dcc", reason="too_many", count=12)
        assert len(gate.daemon.audit("pinhole.opened")) == before + 8
    gate.quiet()


# -- how long ----------------------------------------------------------------------------------------------------------


def test_what_waits_goes_with_its_session_and_who_has_come_stays(gate: Site) -> None:
    """IR18."""
    with waiting(gate.client, 5000) as listener:
        talk = gate.talk()
        come, wait = (announced(talk.offer(port)) for port in (5000, 5001))
        with gate.stranger.inside():
            sock = socket.create_connection(come, SECONDS)
        with sock:
            there, _ = listener.accept()
            talk.close()
            gate.daemon.until(sessions=0, pinholes=1)
            assert is_refused(gate.stranger, wait)
            with there:
                sock.sendall(b"still here")
                assert there.recv(10) == b"still here"
    assert gate.daemon.wait_for("irc.transfer", result="finished", bytes_in=10)["bytes_out"] == 0
    gate.quiet()


# -- with a real server ------------------------------------------------------------------------------------------------


def test_a_client_that_hears_its_own_words_knows_them() -> None:
    """IR16: echo-message of a real server."""
    with Lab("nat") as lab, gateway(lab, configured("interface", OPEN, OPEN)) as daemon, irc.inspircd(lab.server):
        first = b"CAP REQ :echo-message\r\nNICK alice\r\nUSER al 0 * :x\r\nCAP END\r\n"
        with Talk(lab.client, str(lab.server.v4), first) as talk:
            while b" 001 " not in (line := talk.hear()):
                assert line
            offer = f"PRIVMSG alice :\x01DCC CHAT chat {number(talk.own)} 5000\x01\r\n".encode()
            talk.say(offer)
            while b"DCC" not in (line := talk.hear()):
                assert line
            assert line.endswith(offer)
            assert daemon.wait_for("address.rewritten")["message"] == "DCC CHAT"
