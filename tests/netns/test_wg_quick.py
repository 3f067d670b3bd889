"""A real `wg-quick up` with a default route, on a gateway that serves: its routing rules have no priority, so the
kernel puts them before ours; it turns src_valid_mark on, and restores marks of datagrams."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tests.netns.talks import Way, call, transfer
from tools.lab import Daemon, Lab, pinhole
from tools.lab.daemon import ROOT
from tools.lab.gateways import BACKENDS, BackendName
from tools.peers.programs import UNPACKED

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

POLICY = "policies: [{name: all, from: [lan0], action: accept}]"


@contextmanager
def tunnel(lab: Lab, directory: Path, more: str = "") -> Iterator[None]:
    """Up, and down at the end. more: of the section [Interface]."""
    environment = os.environ | {"PATH": f"{UNPACKED}/usr/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    # wireguard-go keeps its sockets by the names of interfaces, of all namespaces together.
    path = directory / f"wg{secrets.token_hex(4)}.conf"

    def wg(*words: str, stdin: str = "") -> str:
        return lab.gateway.run(("wg", *words), env=environment, stdin=stdin).stdout.strip()

    peer = wg("pubkey", stdin=wg("genkey"))
    path.write_text(
        f"[Interface]\nPrivateKey = {wg('genkey')}\nAddress = 10.9.0.2/32, fd99::2/128\n{more}\n"
        f"[Peer]\nPublicKey = {peer}\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = {lab.server.v4}:51820\n"
    )
    path.chmod(0o600)
    lab.gateway.run(("wg-quick", "up", str(path)), env=environment)
    try:
        yield
    finally:
        lab.gateway.run(("wg-quick", "down", str(path)), env=environment)


def sessions_pass(lab: Lab) -> None:
    for number, version in enumerate((4, 6)):
        way = Way(lab.client, lab.server, version)
        transfer(way, active=False)
        transfer(way, active=True)
        call(way, number)


@pytest.fixture(params=BACKENDS)
def site(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, Daemon]]:
    backend: BackendName = request.param
    with Lab("routed") as lab, pinhole(lab, POLICY, backend) as daemon:
        yield lab, daemon


def test_a_tunnel_that_comes_up_later_is_told_and_up_is_the_remedy(site: tuple[Lab, Daemon], tmp_path: Path) -> None:
    lab, daemon = site
    sessions_pass(lab)
    with tunnel(lab, tmp_path):
        parts = daemon.wait_for("rules.missing")["parts"]
        assert all("rules of others before ours: priority 9" in part for part in parts), parts
        daemon.net_up()
        daemon.wait_for("rules.restored")
        sessions_pass(lab)
        kinds = [line for line in lab.gateway.run(("ip", "rule")).stdout.splitlines() if "proto 213" not in line]
        # The order that wg-quick relies on.
        assert ["suppress_prefixlength" in line for line in kinds[1:3]] == [True, False]
    sessions_pass(lab)


def test_a_tunnel_whose_configuration_puts_our_rules_first_again(site: tuple[Lab, Daemon], tmp_path: Path) -> None:
    lab, daemon = site
    backend = "nft" if "pinhole" in lab.gateway.run(("nft", "list", "tables")).stdout else "iptables"
    post_up = f"PostUp = {sys.executable} -m proxy net up --backend {backend} -c {daemon.config}"
    with tunnel(lab, tmp_path, post_up):
        sessions_pass(lab)
