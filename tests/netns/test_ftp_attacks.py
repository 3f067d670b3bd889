"""Attacks on the FTP helper, each really tried through a locked-down gateway (rules X10, X11, X12, X13, F2, F12, F24,
F25, F26, F47, F61, F67; RFC 2577)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from proxy.host.rules import Backend
from tests.netns.ftp_talk import Served, Talk, dial, fate, open_ports, passive_address, plain_server, server, serving
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SCANNED = [*range(1, 1025), 3306, 8080, *range(40000, 40100)]


class Site:
    """A lab with pinhole on its gateway, which drops all else."""

    def __init__(self, lab: Lab, daemon: Daemon) -> None:
        self.lab = lab
        self.daemon = daemon
        self.server_at = str(lab.server.v4)

    def talk(self, login: bool = True) -> Talk:
        return Talk(self.lab.client, self.server_at, login)

    def violations(self) -> list[str]:
        """The rules broken so far, once the sessions have ended (the log is written a moment behind)."""
        self.quiet()
        return [line["rule"] for line in self.daemon.audit("violation")]

    def opened(self) -> list[str]:
        self.quiet()
        return [line["listen"] for line in self.daemon.audit("pinhole.opened")]

    def quiet(self) -> None:
        """Once the sessions so far have ended, nothing of them is left."""
        self.daemon.until(sessions=0, pinholes=0, ports_leased=0)


@contextlib.contextmanager
def site(snat: str = "none", backend: Backend = Backend.NFT, more: str = "") -> Iterator[Site]:
    policy = f"{{name: lan-out, from: [lan0], action: accept, snat: {snat}}}"
    with (
        Lab("routed") as lab,  # whoever wants to attack the client knows the way
        pinhole(lab, f"policies: [{policy}]\nports: 40000-40099\n{more}", backend.value, unprivileged=True) as daemon,
    ):
        daemon.lock_down()
        yield Site(lab, daemon)


@pytest.fixture(params=["none", "interface"])
def gate(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as gate:
        yield gate


# -- what a client may ask for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["PORT 10,1,0,3,20,20", "EPRT |1|10.1.0.3|5140|", "PORT 198,51,100,3,20,20"])
def test_a_bounce_to_a_third_host_is_refused_and_not_forwarded(gate: Site, command: str) -> None:
    with server(gate.lab.server) as heard, gate.talk() as talk:
        assert talk.ask(command).startswith("504")
        assert talk.ask("NOOP").startswith("200")
        assert heard == [b"USER u\r\n", b"PASS p\r\n", b"NOOP\r\n"]
    assert gate.violations() == ["ftp.bounce"]
    assert gate.opened() == []
    gate.quiet()


@pytest.mark.parametrize(
    ("command", "code", "rule"),
    [
        ("PORT 10,1,0,2,0,22", "504", "ftp.low_port"),
        ("EPRT |1|10.1.0.2|80|", "504", "ftp.low_port"),
        ("PORT 10,1,0,2,0,0", "501", "ftp.bad_port"),
        ("PORT 10,1,0,2,999,1", "501", "ftp.bad_port"),
        ("PORT 10,1,0,2,20", "501", "ftp.bad_port"),
    ],
)
def test_a_port_that_is_low_or_nonsense_is_refused_and_not_forwarded(
    gate: Site, command: str, code: str, rule: str
) -> None:
    with server(gate.lab.server) as heard, gate.talk() as talk:
        assert talk.ask(command).startswith(code)
        talk.ask("NOOP")
        assert not any(b"PORT" in line or b"EPRT" in line for line in heard)
    assert gate.violations() == [rule]
    gate.quiet()


def test_more_pinholes_than_the_cap_are_refused() -> None:
    with (
        site(more="limits: {pinholes: 2}") as gate,
        server(gate.lab.server),
        gate.talk() as one,
        gate.talk() as two,
        gate.talk() as three,
    ):
        assert one.ask("PASV").startswith("227")
        assert two.ask("PASV").startswith("227")
        assert three.ask("PASV").startswith("425")
        assert gate.daemon.wait_for("pinhole.refused")["reason"] == "limit_total"
        one.close()
        gate.daemon.wait_for("pinhole.closed")
        assert three.ask("PASV").startswith("227")


# -- what a server may trick a gateway into ----------------------------------------------------------------------------


def test_a_227_inside_another_reply_opens_nothing(gate: Site) -> None:
    def script(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"STAT"):
            return b"211-status\r\n227 Entering Passive Mode (" + b"198,51,100,2,100,100" + b")\r\n211 end\r\n"
        return plain_server(served, line)

    with server(gate.lab.server, script), gate.talk() as talk:
        assert talk.ask("STAT").startswith("211")
        assert fate(gate.lab.client, gate.server_at, 100 << 8 | 100) == "silent"
    assert gate.opened() == []


def test_a_227_that_nobody_asked_for_opens_nothing(gate: Site) -> None:
    def script(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"NOOP"):
            return b"227 Entering Passive Mode (198,51,100,2,100,100)\r\n"
        return plain_server(served, line)

    with server(gate.lab.server, script), gate.talk() as talk:
        talk.ask("NOOP")
        assert fate(gate.lab.client, gate.server_at, 100 << 8 | 100) == "silent"
    assert gate.opened() == []


def test_a_227_that_names_a_third_host_leads_to_the_server_alone(gate: Site) -> None:
    def script(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"PASV"):
            return served.passive(b"from the server").replace(b"198,51,100,2", b"198,51,100,3")
        return plain_server(served, line)

    with server(gate.lab.server, script), gate.talk() as talk:
        _, port = passive_address(talk.ask("PASV"))
        assert fate(gate.lab.client, str(gate.lab.server_stranger.v4), port) == "silent"
        assert fate(gate.lab.client, gate.server_at, port) == "open from the server"
    assert gate.violations() == ["ftp.pasv_mismatch"]


def test_a_low_port_in_a_227_is_refused(gate: Site) -> None:
    def script(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"PASV"):
            return b"227 Entering Passive Mode (198,51,100,2,0,22)\r\n"
        return plain_server(served, line)

    with server(gate.lab.server, script), gate.talk() as talk:
        assert talk.ask("PASV").startswith("425")
        assert fate(gate.lab.client, gate.server_at, 22) == "silent"
    assert gate.violations() == ["ftp.low_port"]


# -- what is not FTP ---------------------------------------------------------------------------------------------------


def test_http_with_ftp_inside_is_closed_and_nothing_of_it_arrives(gate: Site) -> None:
    """NAT slipstreaming: a browser is made to send a form whose body has a command at the edge of a packet."""
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n" + b"a" * 1200
    with server(gate.lab.server) as heard, gate.talk(login=False) as talk:
        with contextlib.suppress(OSError):
            talk.send(post)
            talk.send(b"\r\nPORT 10,1,0,2,156,64\r\n")
        assert talk.end() in ("reset", "closed")
        assert gate.daemon.wait_for("session.closed")["reason"] == "not_ftp"
        assert heard == []
    assert gate.opened() == []
    gate.quiet()


HOSTILE = {
    "an FTP verb as method": ["-X", "USER"],
    "another one": ["-X", "PASS"],
    "the agreement itself as method": ["-X", "PORT 10,1,0,2,31,144"],
    "a login in the method": ["-X", "USER x\r\nPASS y\r\nPORT 10,1,0,2,31,144\r\nNOOP"],
    "HTTP/1.0": ["-0", "-X", "USER"],
    "fields without a body": ["-X", "FEAT", "-H", "USER: x", "-H", "PASS: y"],
}


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_request_whose_method_is_an_ftp_verb_opens_nothing(gate: Site, words: list[str]) -> None:
    """NAT slipstreaming by what a client of HTTP can be made to send, to a server that agrees to everything."""
    body = "\r\nUSER x\r\nPASS y\r\nPORT 10,1,0,2,31,144\r\nEPRT |1|10.1.0.2|8080|\r\nPASV\r\nLIST\r\n"
    curl = ("curl", "-s", "--max-time", "30", "--http0.9")
    with server(gate.lab.server, lambda *_: b"230 in\r\n") as heard:
        gate.lab.client.run((*curl, *words, "--data-binary", body, f"http://{gate.server_at}:21/"), check=False)
        assert gate.daemon.wait_for("session.closed")["reason"] == "not_ftp"
        assert not any(line.split()[0] in (b"PORT", b"EPRT", b"PASV") for line in heard)
    assert gate.opened() == []
    assert gate.violations() == ["ftp.not_ftp"]


@pytest.mark.parametrize("address", ["smtp://{}:21/x", "rtsp://{}:21/", "imap://{}:21/", "gopher://{}:21/_NICK%20x"])
def test_what_other_protocols_say_first_opens_nothing(gate: Site, address: str) -> None:
    words = ("--mail-from", "a@example.org", "--mail-rcpt", "b@example.org") if address.startswith("smtp") else ()
    with server(gate.lab.server, lambda *_: b"230 in\r\n") as heard:
        gate.lab.client.run(("curl", "-s", "--max-time", "5", *words, address.format(gate.server_at)), check=False)
        gate.daemon.wait_for("session.closed")
        assert not any(line.split()[0].upper() in (b"EHLO", b"HELO", b"OPTIONS", b"A001", b"NICK") for line in heard)
    assert gate.opened() == []


@pytest.mark.parametrize("command", ["PORT 10,1,0,2,31,144", "EPRT |1|10.1.0.2|8080|", "PASV", "EPSV", "LIST"])
def test_without_a_login_nothing_is_opened(gate: Site, command: str) -> None:
    """Also at servers that want none."""
    with server(gate.lab.server, lambda *_: b"200 fine\r\n") as heard, gate.talk(login=False) as talk:
        talk.reply()
        assert talk.ask("NOOP").startswith("200")
        assert talk.ask(command)[:3] == ("200" if command == "LIST" else "530")
        assert heard == [b"NOOP\r\n", *([b"LIST\r\n"] if command == "LIST" else [])]
        assert talk.ask("USER anybody").startswith("200")
        assert talk.ask("PORT 10,1,0,2,31,144").startswith("200")
        gate.daemon.wait_for("pinhole.opened")
    assert len(gate.opened()) == 1


def test_a_port_after_garbage_is_not_found_again(gate: Site) -> None:
    with server(gate.lab.server) as heard, gate.talk(login=False) as talk:
        with contextlib.suppress(OSError):
            talk.send(b"\x80\x81\x82 garbage\r\n")
            talk.send(b"PORT 10,1,0,2,156,64\r\n")
        assert talk.end() in ("reset", "closed")
        gate.daemon.wait_for("session.closed")
        assert not any(b"PORT" in line for line in heard)
    assert gate.opened() == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [(b"CWD " + b"a" * 10_000 + b"\r\n", "ftp.line_too_long"), (b"CWD a\0b\r\n", "ftp.nul")],
    ids=["10,000 bytes", "NUL"],
)
def test_a_line_that_no_client_sends_is_answered_500_and_the_end(gate: Site, line: bytes, rule: str) -> None:
    with server(gate.lab.server) as heard, gate.talk() as talk:
        talk.send(line)
        assert talk.reply().startswith("500")
        assert talk.end() in ("reset", "closed")
        gate.daemon.wait_for("session.closed")
        assert not any(b"CWD" in line for line in heard)
    assert gate.violations() == [rule]
    gate.quiet()


def test_commands_glued_behind_auth_never_reach_the_server(gate: Site) -> None:
    def script(served: Served, line: bytes) -> bytes | None:
        return b"234 go on\r\n" if line.startswith(b"AUTH") else plain_server(served, line)

    with server(gate.lab.server, script) as heard, gate.talk() as talk:
        talk.send(b"AUTH TLS\r\nDELE everything\r\n")
        talk.end()
        assert gate.daemon.wait_for("session.closed")["reason"] == "tls_injection"
        assert not any(b"DELE" in line for line in heard)
    assert gate.violations() == ["ftp.tls_injection"]


# -- strangers at a pinhole --------------------------------------------------------------------------------------------


def test_a_stranger_who_comes_first_is_refused_and_the_right_peer_still_gets_in() -> None:
    """At a port of ours."""
    with site("interface") as gate, server(gate.lab.server), gate.talk() as talk:
        assert talk.ask("PORT 10,1,0,2,156,70").startswith("200")
        address, port = gate.daemon.wait_for("pinhole.opened")["listen"].split(":")
        with serving(gate.lab.client, 156 << 8 | 70) as waiting:
            for _ in range(3):
                assert fate(gate.lab.server_stranger, address, int(port)) == "reset"
            with dial(gate.lab.server, address, int(port)) as sock, waiting.accept()[0] as data:
                sock.sendall(b"payload")
                assert data.recv(100) == b"payload"
        assert gate.daemon.wait_for("pinhole.closed")["refused"] == 3
        assert [line["rule"] for line in gate.daemon.audit("violation")] == ["pinhole.stranger"]
        assert len(gate.daemon.audit("pinhole.used")) == 1


def test_at_an_address_that_is_not_ours_a_stranger_finds_nothing_and_the_right_peer_still_gets_in(gate: Site) -> None:
    with server(gate.lab.server), gate.talk() as talk:
        address, port = passive_address(talk.ask("PASV"))
        assert fate(gate.lab.client_stranger, address, port) == "silent"
        assert fate(gate.lab.client, address, port) == "open payload"
        gate.daemon.wait_for("pinhole.closed")
    assert gate.violations() == []
    assert len(gate.daemon.audit("pinhole.used")) == 1


def test_a_used_pinhole_takes_no_second_connection(gate: Site) -> None:
    with server(gate.lab.server), gate.talk() as talk:
        address, port = passive_address(talk.ask("PASV"))
        with dial(gate.lab.client, address, port) as first:
            gate.daemon.wait_for("pinhole.used")
            assert fate(gate.lab.client, address, port) in ("silent", "refused")
            assert first.recv(100) == b"payload"


def test_an_unused_pinhole_is_gone_after_its_time() -> None:
    with site(more="timeouts: {pinhole_open: 0.3}") as gate, server(gate.lab.server), gate.talk() as talk:
        address, port = passive_address(talk.ask("PASV"))
        assert gate.daemon.wait_for("pinhole.closed")["reason"] == "never_used"
        assert fate(gate.lab.client, address, port) in ("silent", "refused")


@pytest.mark.parametrize("backend", list(Backend), ids=lambda backend: backend.value)
@pytest.mark.parametrize("snat", ["none", "interface"])
def test_a_port_scan_finds_the_agreed_pinhole_alone(backend: Backend, snat: str) -> None:
    with site(snat, backend) as gate, server(gate.lab.server):
        lab = gate.lab
        gateway_outside, gateway_inside = (str(lab.gateway.address(4, name)) for name in ("wan0", "lan0"))

        def scan(more: list[int] | None = None) -> dict[str, set[int]]:
            ports = SCANNED + (more or [])
            return {
                "outside": open_ports(lab.server_stranger, gateway_outside, ports),
                "through to the client": open_ports(lab.server_stranger, str(lab.client.v4), ports),
                "inside": open_ports(lab.client_stranger, gateway_inside, ports) - {21},
            }

        nothing: dict[str, set[int]] = {"outside": set(), "through to the client": set(), "inside": set()}
        assert scan() == nothing
        with gate.talk() as talk:
            # Active: the pinhole stands where the server knows the client, and answers handshakes there alone; where
            # that is the client's own address, it answers the server alone.
            assert talk.ask("PORT 10,1,0,2,156,70").startswith("200")
            stands = gate.daemon.wait_for("pinhole.opened")["listen"]
            host, port = stands.rsplit(":", 1)
            assert host == (gateway_outside if snat == "interface" else str(lab.client.v4))
            found = {**nothing, "outside": {int(port)}} if snat == "interface" else nothing
            assert scan([int(port)]) == found
            assert fate(lab.server_stranger, host, int(port)) == ("reset" if snat == "interface" else "silent")
            assert open_ports(lab.server, host, [int(port)]) == {int(port)}
        gate.daemon.wait_for("pinhole.closed")
        assert scan([int(port)]) == nothing


def test_a_session_from_outside_is_not_taken(gate: Site) -> None:
    with server(gate.lab.client):
        assert fate(gate.lab.server, str(gate.lab.client.v4), 21) == "silent"
    assert gate.daemon.audit("session.opened") == []


def test_nothing_is_logged_that_is_secret(gate: Site) -> None:
    with server(gate.lab.server), gate.talk(login=False) as talk:
        talk.reply()
        talk.ask("USER alice")
        talk.ask("PASS correct-horse-battery")
        talk.ask("ACCT staple-account")
        gate.daemon.wait_for("ftp.login")
    gate.quiet()
    text = gate.daemon.log.read_text()
    assert "alice" in text
    assert "horse" not in text
    assert "staple" not in text
