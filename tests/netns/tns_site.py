"""A lab whose gateway carries TNS, for tests in which its listener and its client are scripted (tns_talk.py)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from tests.harness.waiting import until
from tests.netns.connections import read_all
from tests.netns.tns_talk import calling, listening, passes
from tools.lab import Daemon, Lab, pinhole
from tools.peers.tns_packets import accept


class Site:
    """A lab with pinhole on its gateway, which drops all else: a client inside, its listener outside."""

    def __init__(self, lab: Lab, daemon: Daemon) -> None:
        self.lab, self.daemon = lab, daemon
        self.client, self.server = lab.client, lab.server
        self.listener_at = (str(lab.server.v4), 1521)
        """As the client knows it."""
        self.before = 0

    def own(self, interface: str, version: int = 4) -> IPv4Address | IPv6Address:
        """An address of the gateway."""
        return self.lab.gateway.address(version, interface)

    def calling(self, sends: bytes | None = None) -> contextlib.AbstractContextManager[socket.socket]:
        return calling(self.client, self.listener_at, sends)

    def quiet(self) -> None:
        """Once the sessions so far have ended, nothing of them is left."""
        until(self._holds_nothing, self._status)
        self.daemon.wait_for("session.closed", count=self._status()["sessions_opened"])

    def _holds_nothing(self) -> bool:
        status = self._status()
        return not any(status[name] for name in ("sessions", "pinholes", "ports_leased"))

    def _status(self) -> dict[str, Any]:
        return self.daemon.look()

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of this test, once its sessions have ended."""
        self.quiet()
        return [line for line in self.daemon.audit()[self.before :] if line["event"] == event]

    def violations(self) -> list[str]:
        return [line["rule"] for line in self.told("violation")]

    def reasons(self) -> list[str]:
        return [line["reason"] for line in self.told("session.closed")]

    def nothing_was_opened(self) -> None:
        assert self.told("pinhole.opened") == []

    def goes_on(self) -> None:
        """A session as any other."""
        assert self.told("engine.failed") == self.told("daemon.failed") == []
        with listening(self.server, accept()) as listener, self.calling() as client:
            assert len(read_all(client, len(accept()))) == len(accept())
            assert passes(client, listener.take())
        self.quiet()

    @contextlib.contextmanager
    def one_test(self) -> Iterator[Site]:
        self.before = len(self.daemon.audit())
        yield self
        self.goes_on()


@contextlib.contextmanager
def site(snat: str = "none", options: str = "", more: str = "") -> Iterator[Site]:
    policy = f"{{name: lan-out, from: [lan0], action: accept, snat: {snat}, options: {{tns: {{{options}}}}}}}"
    with (
        Lab("routed") as lab,  # whoever wants to attack the client knows the way
        pinhole(lab, f"policies: [{policy}]\nports: 40000-40099\n{more}", unprivileged=True) as daemon,
    ):
        daemon.lock_down()
        yield Site(lab, daemon)
