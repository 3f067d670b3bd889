"""The demo tells what happened, also when that was not what it should be."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from protocols import HELPERS
from tests.netns.namespaces import needs_root
from tools.demo import __main__ as demo
from tools.demo import ftp as demo_ftp
from tools.demo.demonstrations import DEMONSTRATIONS, NOT_SHOWN, missing
from tools.demo.job import Demonstration, Job
from tools.demo.report import opened, rewritten
from tools.lab import daemon as lab_daemon
from tools.lab import gateways
from tools.peers import ftp as peers

MISSING = missing()
needs_peers = pytest.mark.skipif(bool(MISSING), reason=f"not installed (tools/setup --test): {MISSING}")


def on_a_lab(test: Any) -> Any:
    for mark in (pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root, needs_peers):
        test = mark(test)
    return test


def test_every_helper_is_demonstrated_but_those_of_h323() -> None:
    assert set(DEMONSTRATIONS) == set(HELPERS) - NOT_SHOWN


def test_rewritten_addresses_are_counted_by_message_field_and_hosts() -> None:
    def line(before: str, after: str) -> dict[str, Any]:
        change = {"field": "address", "before": before, "after": after}
        return {"gateway": "dnat", "event": "address.rewritten", "message": "229", "changes": [change]}

    log = [line("10.1.0.2:5000", "198.51.100.1:6000"), line("[fd01::2]:5", "[2001:db8:2::1]:6")]
    log.append(line("10.1.0.2:5001", "198.51.100.1:6001"))
    assert rewritten([{"event": "session.opened"}, *log]) == [
        {
            "gateway": "dnat",
            "message": "229",
            "field": "address",
            "times": 2,
            "such as": "10.1.0.2:5001",
            "became": "198.51.100.1:6001",
        },
        {
            "gateway": "dnat",
            "message": "229",
            "field": "address",
            "times": 1,
            "such as": "[fd01::2]:5",
            "became": "[2001:db8:2::1]:6",
        },
    ]


def test_a_change_that_names_no_address_has_no_row() -> None:
    """RTSP says that a description was changed as a whole, and DNS how many more changes there were."""
    change = {"field": "sdp", "before": None, "after": None}
    line = {"gateway": "dnat", "event": "address.rewritten", "message": "200 DESCRIBE", "changes": [change]}
    assert rewritten([line]) == []


def test_pinholes_are_counted_by_what_asked_for_them() -> None:
    opening = {"listen": "198.51.100.2:5000", "allow": "10.1.0.2/32", "target": "198.51.100.2:5000", "trigger": "PASV"}
    closing = {"bytes_in": 3 * 1024 * 1024, "bytes_out": 0, "duration_seconds": 0.25}
    log = [
        {"gateway": "snat_none", "event": "pinhole.opened", "pinhole": 1, **opening},
        {"gateway": "snat_none", "event": "pinhole.used", "pinhole": 1},
        {"gateway": "snat_none", "event": "pinhole.opened", "pinhole": 2, **opening},
        {"gateway": "snat_none", "event": "pinhole.closed", "pinhole": 1, **closing},
    ]
    (row,) = opened(log)
    assert (row["asked by"], row["opened"], row["used"], row["closed"]) == ("PASV", 2, 1, 1)
    assert (row["carried"], row["longest"], row["for"]) == ("3 MiB", "250 ms", "10.1.0.2/32")


@on_a_lab
def test_everything_that_happened_is_told_and_the_audit_log_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "ROLES", (gateways.HIDING,))
    monkeypatch.setattr(demo_ftp, "FTP_SERVERS", ("vsftpd",))
    done = CliRunner().invoke(demo.main, ["--log", str(tmp_path / "log")])
    assert done.exit_code == 0, done.output
    assert re.search(r"^([0-9]+) of \1 went well", done.output, re.MULTILINE), done.output
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    opened = Counter(line["purpose"] for line in log if line["event"] == "pinhole.opened")
    assert (opened["ftp-data"], opened["rtp"]) == (16, 20)
    assert sum(line["event"] == "pinhole.closed" for line in log) == opened.total()
    assert sum(line["event"] == "call.ended" for line in log) == 2
    assert sum(line["event"] == "tns.redirected" for line in log) == 2
    assert sum(line["event"] == "tftp.transfer" for line in log) == 2
    assert sum(line["event"] == "rsh.command" for line in log) == 2
    assert sum(line["event"] == "mgcp.connection_ended" for line in log) == 4
    assert sum(line["event"] == "rtsp.ended" and line["packets_to_client"] > 0 for line in log) == 2
    assert opened["rpc"] == 6  # four of NFS, two of Samba
    assert log[-1]["event"] == "daemon.stopped"


@on_a_lab
def test_a_client_that_fails_and_a_server_that_does_not_start_are_told_with_what_they_said_and_end_with_status_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wrong_password(*_: object) -> None:
        raise peers.TransferFailed("530 Login incorrect.")

    def no_server(gateway: gateways.Gateway, directory: Path) -> Iterator[Job]:
        raise RuntimeError("the registrar has no library")
        yield

    without = Demonstration("sip", "Called", 1, no_server, str)
    monkeypatch.setattr(demo, "DEMONSTRATIONS", {"sip": without, "ftp": DEMONSTRATIONS["ftp"]})
    monkeypatch.setattr(demo, "ROLES", (gateways.ROUTING,))
    monkeypatch.setattr(demo_ftp, "FTP_SERVERS", ("vsftpd",))
    monkeypatch.setattr(demo_ftp, "CLIENTS", (peers.CLIENTS[2], peers.Client("other", wrong_password)))
    done = CliRunner().invoke(demo.main, ["--log", str(tmp_path / "log")])
    assert done.exit_code == 1
    assert re.findall(r"^([0-9]+) of ([0-9]+) went well", done.output, re.MULTILINE) == [("1", "2")]
    assert "530 Login incorrect." in done.output
    assert "snat_none: sip: the registrar has no library" in done.output


@on_a_lab
def test_a_session_that_a_failed_client_leaves_open_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with contextlib.ExitStack() as left_open:

        def run(gateway: gateways.Gateway) -> dict[str, str]:
            monkeypatch.setattr(lab_daemon, "LONGEST_WAIT_SECONDS", 1)  # this is in vain: the session does not end
            with gateway.server.inside():
                left_open.enter_context(socket.create_server((str(gateway.server.v4), 21)))
            with gateway.client.inside():
                left_open.enter_context(socket.create_connection((str(gateway.dialled(4)), 21), peers.SECONDS))
            raise peers.TransferFailed("no greeting")

        def jobs(gateway: gateways.Gateway, directory: Path) -> Iterator[Job]:
            yield Job("nobody", "client", "ipv4", partial(run, gateway))

        monkeypatch.setattr(demo, "DEMONSTRATIONS", {"ftp": Demonstration("ftp", "Transferred", 1, jobs, str)})
        monkeypatch.setattr(demo, "ROLES", (gateways.ROUTING,))
        done = CliRunner().invoke(demo.main, ["--log", str(tmp_path / "log")])
    assert done.exit_code == 1
    assert "no greeting" in done.output
    assert "snat_none: the status did not become {'sessions': 0, 'pinholes': 0}" in done.output
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["event"] == "daemon.stopped"


def test_what_keeps_the_gateway_from_starting_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_lab(*_: object) -> None:
        raise RuntimeError("the lab cannot be made: Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(demo, "missing", str)
    monkeypatch.setattr(demo, "demonstrate", no_lab)
    done = CliRunner().invoke(demo.main, ["--log", str(tmp_path / "log")])
    assert (done.exit_code, done.stderr) == (1, "Error: the lab cannot be made: Operation not permitted\n")
