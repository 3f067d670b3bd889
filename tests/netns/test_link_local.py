"""IPv6 addresses that mean something on one link only: what cannot work is denied at once, with a reason."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@contextlib.contextmanager
def gateway(policy: str) -> Iterator[tuple[Lab, Daemon]]:
    with Lab("nat") as lab, pinhole(lab, f"policies: [{policy.format(inside=lab.client.v6)}]") as daemon:
        yield lab, daemon


def link_local(host: Host, interface: str) -> str:
    text = host.run(["ip", "-6", "-o", "address", "show", "dev", interface, "scope", "link"]).stdout
    found = re.search(r"inet6 (fe80::[0-9a-f:]+)/", text)
    assert found, text
    return found[1]


def is_reset(host: Host, address: str, port: int, source: str = "") -> bool:
    with host.inside(), socket.socket(socket.AF_INET6) as sock:
        index = socket.if_nametoindex("eth0")
        sock.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            if source:
                sock.bind((source, 0, 0, index))
            sock.connect((address, port, 0, index))
            return sock.recv(100) == b"never"
        return True


@pytest.mark.parametrize("port", [21, 1521])
def test_a_client_that_dials_the_link_local_address_of_the_gateway_is_denied_at_once(port: int) -> None:
    """Published by `dnat`: no data connection could come to it."""
    policy = '{{name: publish, from: [wan0], action: accept, dnat: "{inside}"}}'
    with gateway(policy) as (lab, daemon):
        assert is_reset(lab.server, link_local(lab.gateway, "wan0"), port)
        denied = daemon.wait_for("session.denied")
        assert (denied["reason"], denied["policy"]) == ("link_local", "publish")
        assert daemon.audit("session.opened") == daemon.audit("session.failed") == []


def test_a_client_with_a_link_local_address_that_a_server_would_have_to_answer_is_denied_at_once() -> None:
    policy = "{{name: lan-out, from: [lan0], action: accept, snat: none}}"
    with gateway(policy) as (lab, daemon):
        assert is_reset(lab.client, str(lab.server.v6), 21, link_local(lab.client, "eth0"))
        assert daemon.wait_for("session.denied")["reason"] == "link_local"
