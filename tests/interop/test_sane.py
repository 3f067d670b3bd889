"""A real scanner's picture by scanimage and saned, through a gateway in each role that drops all that pinhole does not
carry."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways, pinhole
from tools.lab.gateways import PUBLISHING_AND_HIDING, ROLES, Gateway
from tools.peers import sane
from tools.peers.ftp import SECONDS, TransferFailed
from tools.peers.sane import DEVICE, FEEDER, PASSWORD, PICTURE, SHEETS, USER, Server

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

ENDS = {"finished", "reset_by_peer"}
"""How the connection of a picture ends: libsane may leave when the picture is whole, before it has seen the end."""


@pytest.fixture(scope="module", params=(*ROLES, PUBLISHING_AND_HIDING), ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(request.param, "nft") as serving:
        yield serving


@contextlib.contextmanager
def offered(gateway: Gateway, **settings: Any) -> Iterator[Server]:
    """A scanner for the one address alone by which its server is to know the client."""
    inside = "lan0" if gateway.role.hides_server else "wan0"
    hides, host = gateway.role.hides_client, gateway.lab.gateway
    trusted = [host.address(version, inside) if hides else gateway.client.address(version) for version in (4, 6)]
    with sane.saned(gateway.server, trusted, **settings) as server:
        yield server


@pytest.fixture
def server(gateway: Gateway) -> Iterator[Server]:
    with offered(gateway) as serving:
        yield serving


def told(gateway: Gateway, before: int, event: str) -> list[dict[str, Any]]:
    """The lines of the sessions since then, once they have ended."""
    gateway.daemon.until(sessions=0, pinholes=0)
    return [line for line in gateway.daemon.audit()[before:] if line["event"] == event]


@pytest.mark.parametrize("version", [4, 6])
def test_a_picture_arrives_as_it_was_taken(gateway: Gateway, server: Server, version: int) -> None:
    before = len(gateway.daemon.audit())
    picture = sane.scan(gateway.client, gateway.dialled(version), *PICTURE)
    assert picture == server.scan(*PICTURE) and len(picture) > 100_000
    (closed,) = told(gateway, before, "pinhole.closed")
    assert closed["reason"] in ENDS and closed["bytes_out"] > 100_000 > closed["bytes_in"] == 0
    (opened,) = told(gateway, before, "sane.opened")
    assert opened["device"] == DEVICE
    assert len(told(gateway, before, "address.rewritten")) == gateway.role.hides_server
    assert told(gateway, before, "violation") == []


@pytest.mark.parametrize("version", [4, 6])
def test_each_sheet_of_a_feeder_comes_by_a_way_of_its_own(gateway: Gateway, server: Server, version: int) -> None:
    before = len(gateway.daemon.audit())
    pages = sane.scan_all(gateway.client, gateway.dialled(version), *FEEDER)
    assert pages == [server.scan(*PICTURE)] * SHEETS
    reasons = [line["reason"] for line in told(gateway, before, "pinhole.closed")]
    assert len(reasons) == SHEETS and set(reasons) <= ENDS
    (refused,) = told(gateway, before, "sane.refused")
    assert (refused["request"], refused["status"]) == ("START", "no_docs")


@pytest.mark.parametrize("options", [("--depth", "16"), ("--mode", "Gray", "--read-limit=yes")], ids=["deep", "gray"])
def test_pictures_of_other_kinds_arrive_too(gateway: Gateway, server: Server, options: tuple[str, ...]) -> None:
    assert sane.scan(gateway.client, gateway.dialled(4), *PICTURE, *options) == server.scan(*PICTURE, *options)


def test_scanners_are_listed(gateway: Gateway, server: Server) -> None:
    assert DEVICE.encode() in sane.listed(gateway.client, gateway.dialled(4))


def test_every_kind_of_option_passes(gateway: Gateway, server: Server) -> None:
    """The scanner of SANE's tests has one of each type, constraint and capability."""
    before = len(gateway.daemon.audit())
    said = sane.scan(gateway.client, gateway.dialled(4), "--enable-test-options=yes", "--all-options")
    assert said.count(b"test option") > 20 and b"--int-constraint-array-constraint-word-list" in said
    assert told(gateway, before, "violation") == []


def test_a_scanner_may_ask_for_a_user(gateway: Gateway) -> None:
    with offered(gateway, asks_for_user=True) as server:
        before = len(gateway.daemon.audit())
        picture = sane.scan(gateway.client, gateway.dialled(4), *PICTURE, password=PASSWORD)
        assert picture == server.scan(*PICTURE)
        with pytest.raises(TransferFailed, match="denied"):
            sane.scan(gateway.client, gateway.dialled(4), *PICTURE, password="wrong-guess")
        (refused,) = told(gateway, before, "sane.refused")
        assert (refused["request"], refused["status"]) == ("OPEN", "access_denied")
        assert told(gateway, before, "violation") == []
        lines = str(gateway.daemon.audit()[before:])
        assert PASSWORD not in lines and USER not in lines


def test_a_scan_may_be_cancelled(gateway: Gateway, server: Server) -> None:
    before, used = len(gateway.daemon.audit()), len(gateway.daemon.audit("pinhole.used"))
    slow = ("--read-delay=yes", "--read-delay-duration", "200000")
    with sane.under_way(gateway.client, gateway.dialled(4), *PICTURE, *slow) as process:
        gateway.daemon.wait_for("pinhole.used", count=used + 1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert len(told(gateway, before, "pinhole.closed")) == 1
    assert told(gateway, before, "violation") == []


def test_a_server_may_have_few_ports_for_pictures(gateway: Gateway) -> None:
    before = len(gateway.daemon.audit())
    with offered(gateway, settings="data_portrange = 40000 - 40009") as server:
        pages = sane.scan_all(gateway.client, gateway.dialled(4), *FEEDER, "--batch-count=3")
        assert pages == [server.scan(*PICTURE)] * 3
    targets = [line["target"] for line in told(gateway, before, "pinhole.opened")]
    assert len(targets) == 3 and all(40000 <= int(target.rpartition(":")[2]) < 40010 for target in targets)


def test_no_picture_comes_without_the_helper() -> None:
    """Which is off until a configuration lists it: where the firewall lets pass the port of saned alone."""
    with Lab("routed") as lab, sane.saned(lab.server, [lab.client.v4]) as server:
        table = "session-helpers: [{id: 1, name: sane, protocol: tcp, port: 6566}]\npolicies:\n"
        policy = "  - {name: out, from: [lan0], action: accept, options: {sane: {mode: %s}}}\n"
        for mode in ("off", "active"):
            with pinhole(lab, table + policy % mode) as daemon:
                daemon.lock_down()
                if mode == "active":
                    assert sane.scan(lab.client, lab.server.v4, *PICTURE) == server.scan(*PICTURE)
                else:
                    with pytest.raises(TransferFailed):
                        sane.scan(lab.client, lab.server.v4, *PICTURE)
                    assert daemon.audit("pinhole.opened") == []
