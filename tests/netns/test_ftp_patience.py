"""Sessions that take their time: clients that keep the control connection alive by NOOPs which the server swallows, and
data that comes long after its agreement."""

from __future__ import annotations

import contextlib
import ftplib
import threading
from collections.abc import Iterator

import pytest

from tests.netns import ftp_talk
from tests.netns.ftp_talk import (
    Script,
    Served,
    Talk,
    dial,
    fate,
    passive_address,
    plain_server,
    server,
    serving,
)
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole
from tools.lab.daemon import LONGEST_WAIT_SECONDS

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

PAYLOAD = b"x" * 300_000
PORT = 40017


@pytest.fixture(autouse=True)
def peers_are_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server waits for who dials late, though the machine takes three times as long for what happens before."""
    monkeypatch.setattr(ftp_talk, "SECONDS", LONGEST_WAIT_SECONDS)


@contextlib.contextmanager
def gateway(snat: str, more: str = "") -> Iterator[tuple[Lab, Daemon]]:
    policy = f"{{name: lan-out, from: [lan0], action: accept, snat: {snat}}}"
    with Lab("routed") as lab, pinhole(lab, f"policies: [{policy}]\n{more}", unprivileged=True) as daemon:
        daemon.lock_down()
        yield lab, daemon


# -- commands without a reply ------------------------------------------------------------------------------------------


def swallowing(*verbs: bytes) -> Script:
    """A server that never answers these, and sends a file for RETR."""

    def script(served: Served, line: bytes) -> bytes | None:
        match line.split()[0].upper():
            case verb if verb in verbs:
                return None
            case b"PASV":
                return served.passive(PAYLOAD)
            case b"EPRT" | b"PORT":
                served.port = numbers(line)
                return b"200 fine\r\n"
            case b"RETR":
                if served.port is not None:
                    with dial(served.host, *served.port) as data:
                        data.sendall(PAYLOAD)
                    served.port = None
                return b"150 go\r\n226 done\r\n"
            case b"TYPE":
                return b"200 binary\r\n"
            case _:
                return plain_server(served, line)

    return script


def numbers(line: bytes) -> tuple[str, int]:
    parts = line.split()[1].decode().split(",")
    return ".".join(parts[:4]), int(parts[4]) << 8 | int(parts[5])


def fetch(client: ftplib.FTP, keep_alive: bytes) -> bytes:
    """As clients do that keep the control connection alive meanwhile."""
    parts = []
    with client.transfercmd("RETR file") as data:
        while block := data.recv(65536):
            parts.append(block)
            assert client.sock
            client.sock.sendall(keep_alive + b"\r\n")
    client.voidresp()
    return b"".join(parts)


@pytest.mark.parametrize("snat", ["none", "interface"])
@pytest.mark.parametrize("is_passive", [True, False], ids=["passive", "active"])
@pytest.mark.parametrize("keep_alive", ["NOOP", "STAT", "ALLO 5", "SITE IDLE"])
def test_downloads_go_on_after_commands_that_nobody_answers(snat: str, is_passive: bool, keep_alive: str) -> None:
    command = keep_alive.encode()
    with gateway(snat) as (lab, daemon), server(lab.server, swallowing(command.split()[0])):
        with lab.client.inside(), ftplib.FTP(timeout=LONGEST_WAIT_SECONDS) as client:
            client.connect(str(lab.server.v4))
            client.login("u", "p")
            client.set_pasv(is_passive)
            for _ in range(3):
                client.voidcmd("TYPE I")
                assert fetch(client, command) == PAYLOAD
        daemon.wait_for("session.closed")
        transfers = daemon.audit("ftp.transfer")
        assert {line["rule"] for line in daemon.audit("violation")} == {"ftp.no_reply"}
        assert [(line["bytes"], line["result"]) for line in transfers] == [(len(PAYLOAD), 226)] * 3


@pytest.mark.parametrize("snat", ["none", "interface"])
def test_a_transfer_outlasts_any_number_of_keep_alives_that_nobody_answers(snat: str) -> None:
    count = 200

    def script(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"RETR"):
            return b"150 go\r\n"
        if line.startswith(b"NOOP"):
            return b"226 done\r\n" if served.heard.count(line) == count else None
        return plain_server(served, line)

    with (
        gateway(snat) as (lab, daemon),
        server(lab.server, script),
        Talk(lab.client, str(lab.server.v4)) as talk,
    ):
        for_data = passive_address(talk.ask("PASV"))
        with dial(lab.client, *for_data) as data:
            assert talk.ask("RETR long").startswith("150")
            for _ in range(count):
                talk.send(b"NOOP\r\n")
            assert talk.reply().startswith("226")
            assert data.recv(100) == b"payload"
        assert fate(lab.client, *passive_address(talk.ask("PASV"))) == "open payload"
        assert daemon.wait_for("ftp.transfer")["result"] == 226


# -- data that comes late ----------------------------------------------------------------------------------------------

QUICK = "timeouts: {pinhole_open: 1}"


def let_pinholes_expire(lab: Lab, daemon: Daemon, count: int) -> None:
    """Time goes by, in units of a pinhole's: one after the other is opened by a neighbour, and nobody comes."""
    for number in range(count):
        with Talk(lab.client_stranger, str(lab.server.v4)) as other:
            assert other.ask("PASV").startswith("227")
            daemon.wait_for("pinhole.closed", count=number + 1, reason="never_used")


@pytest.mark.parametrize("snat", ["none", "interface"])
def test_a_server_that_dials_late_gets_through_while_its_transfer_is_pending(snat: str) -> None:
    """A file that is recalled from tape."""
    recalled = threading.Event()

    def script(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"PORT"):
            served.port = numbers(line)
            return b"200 fine\r\n"
        if line.startswith(b"RETR"):
            assert recalled.wait(LONGEST_WAIT_SECONDS) and served.port is not None
            with dial(served.host, *served.port) as data:
                data.sendall(b"from tape")
            return b"150 go\r\n226 done\r\n"
        return plain_server(served, line)

    with (
        gateway(snat, QUICK) as (lab, daemon),
        server(lab.server, script),
        Talk(lab.client, str(lab.server.v4)) as talk,
        serving(lab.client, PORT) as waiting,
    ):
        waiting.settimeout(LONGEST_WAIT_SECONDS)
        assert talk.ask(f"PORT 10,1,0,2,{PORT >> 8},{PORT & 255}").startswith("200")
        talk.send(b"RETR tape\r\n")
        let_pinholes_expire(lab, daemon, 3)
        recalled.set()
        with waiting.accept()[0] as data:
            assert data.recv(100) == b"from tape"
        assert talk.reply().startswith("150") and talk.reply().startswith("226")


@pytest.mark.parametrize("snat", ["none", "interface"])
def test_a_client_that_dials_late_gets_through_while_its_transfer_is_pending(snat: str) -> None:
    """Some dial when they see 150."""

    def script(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"RETR"):
            return None
        return plain_server(served, line)

    with (
        gateway(snat, QUICK) as (lab, daemon),
        server(lab.server, script),
        Talk(lab.client, str(lab.server.v4)) as talk,
    ):
        address, port = passive_address(talk.ask("PASV"))
        talk.send(b"RETR tape\r\n")
        let_pinholes_expire(lab, daemon, 3)
        assert fate(lab.client, address, port) == "open payload"
        assert daemon.wait_for("pinhole.used")["peer"].startswith(str(lab.client.v4))


def test_a_pinhole_that_no_transfer_waits_for_has_its_short_time_as_ever() -> None:
    with (
        gateway("interface", QUICK) as (lab, daemon),
        server(lab.server),
        Talk(lab.client, str(lab.server.v4)) as talk,
    ):
        assert talk.ask(f"PORT 10,1,0,2,{PORT >> 8},{PORT & 255}").startswith("200")
        assert daemon.wait_for("pinhole.closed")["reason"] == "never_used"
