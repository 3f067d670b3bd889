"""The gateway of a lab in each of its roles: routing, hiding its clients, publishing a server; always locked down.

Its own ruleset drops whatever no rule accepts, on input and on forward, but for the one line that `pinhole net plan`
names. So nothing passes but what pinhole carries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

from proxy.config import reading
from proxy.config.schema import REGISTRY, default_table
from proxy.host.rules import Backend, input_line
from tools.lab import Daemon, Host, Lab, pinhole
from tools.lab.lab import LAN4, LAN6

BackendName = Literal["nft", "iptables"]
BACKENDS: tuple[BackendName, ...] = ("nft", "iptables")
UDP_IDLE_SECONDS = 2
"""Short, for `Gateway.log_after` waits for it. Calls and registrations keep their sessions for as long as they last."""
MGCP_IDLE_SECONDS = 5
MGCP = "mgcp: {idle: MGCP_IDLE}"
"""The same for agents and media gateways, which may be silent for a day: `serving` has the number."""


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    policies: Callable[[Lab], str]
    """In YAML."""
    hides_client: bool = False
    """The server knows the client by an address of the gateway."""
    hides_server: bool = False
    """The client knows the server by an address of the gateway. The server is inside then, the client outside."""


IRC = "irc: {dcc: allow, inbound: open}"
"""Offers of users open nothing unless a policy says so."""


def _lan_out(snat: str) -> Callable[[Lab], str]:
    return lambda lab: (
        f"""
  - {{name: lan-out, from: [lan0], action: accept, snat: {snat}, options: {{{IRC}, {MGCP}}}}}
"""
    )


def _publish(snat: str) -> Callable[[Lab], str]:
    return lambda lab: "".join(
        f"""
  - name: publish-ipv{version}
    from: [wan0]
    destination: ["{lab.gateway.address(version, "wan0")}"]
    action: accept
    dnat: "{lab.client.address(version)}"
    snat: {snat}
    # Phones beside a published PBX speak for themselves: their media is not the PBX's own.
    options: {{{IRC}, {MGCP}, sip: {{media_hosts: ["{LAN4}", "{LAN6}"]}}}}
"""
        for version in (4, 6)
    )


ROUTING = Role("snat_none", _lan_out("none"))
HIDING = Role("snat_interface", _lan_out("interface"), hides_client=True)
PUBLISHING = Role("dnat", _publish("none"), hides_server=True)
PUBLISHING_AND_HIDING = Role("dnat_and_snat", _publish("interface"), hides_client=True, hides_server=True)
ROLES = (ROUTING, HIDING, PUBLISHING)


@dataclass(frozen=True, slots=True)
class Gateway:
    lab: Lab
    role: Role
    backend: BackendName
    daemon: Daemon

    @property
    def client(self) -> Host:
        """The host whose users start the clients."""
        return self.lab.server if self.role.hides_server else self.lab.client

    @property
    def server(self) -> Host:
        """The host for servers."""
        return self.lab.client if self.role.hides_server else self.lab.server

    @property
    def clients(self) -> tuple[Host, Host]:
        """Two hosts on that side."""
        lab = self.lab
        return (lab.server, lab.server_stranger) if self.role.hides_server else (lab.client, lab.client_stranger)

    @property
    def neighbour(self) -> Host:
        """A host beside the server, which needs no gateway to reach it."""
        return self.lab.client_stranger if self.role.hides_server else self.lab.server_stranger

    def dialled(self, version: int) -> IPv4Address | IPv6Address:
        """The address at which the client knows the server."""
        return self.lab.gateway.address(version, "wan0") if self.role.hides_server else self.server.address(version)

    def log_after(self, before: int) -> list[dict[str, Any]]:
        """The lines of the audit log but for the first `before`, once all sessions have ended and been told of."""
        self.daemon.until(sessions=0, pinholes=0)
        # Sessions that are counted have no lines of their own.
        self.daemon.wait_for("session.closed", count=len(self.daemon.audit("session.opened")))
        return self.daemon.audit()[before:]

    def calls_after(self, before: int, calls: int) -> list[dict[str, Any]]:
        """The lines of the audit log but for the first `before`, once so many calls among them have ended: with their
        media, though not the sessions by which they were made."""
        if calls:
            ended = sum(line["event"] == "call.ended" for line in self.daemon.audit()[:before])
            self.daemon.wait_for("call.ended", count=ended + calls)
        return self.daemon.audit()[before:]


def _table() -> str:
    """In YAML: every helper on its ports, also those that are off unless a configuration lists them."""
    entries = (
        f"  - {{id: {entry.id}, name: {entry.name}, protocol: {entry.protocol.value}, port: {entry.ports[0]}}}\n"
        for entry in default_table(REGISTRY)
    )
    return f"session-helpers:\n{''.join(entries)}"


@contextlib.contextmanager
def serving(
    role: Role, backend: BackendName, drain_seconds: float = 30, idle_seconds: float | None = None
) -> Iterator[Gateway]:
    """A lab of its own with pinhole at work in this role: an ordinary user with two capabilities. drain_seconds: for
    relays that are not over at its end. idle_seconds: for peers that may be kept from their turn, where nobody waits
    for silent sessions to end; None: short."""
    # Without NAT the other side must know a way back to the client; with NAT it must not need one.
    with Lab("nat" if role.hides_client or role.hides_server else "routed") as lab:
        policies = role.policies(lab).replace("MGCP_IDLE", str(idle_seconds or MGCP_IDLE_SECONDS))
        text = f"version: 1\n{_table()}policies:{policies}"
        text += f"\ntimeouts: {{udp_idle: {idle_seconds or UDP_IDLE_SECONDS}, drain: {drain_seconds}}}"
        with pinhole(lab, text, backend, unprivileged=True) as daemon:
            line = input_line(reading.load(daemon.config), Backend(backend))
            if line not in daemon.plan():
                raise RuntimeError(f"`net plan` does not name the line for input: {line}")
            lab.lock_down(line, backend)
            yield Gateway(lab, role, backend, daemon)
