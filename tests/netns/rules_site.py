"""Three hosts and our rules between them: who listens, who connects, and what comes of it."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint, Host, Transport
from proxy.config.schema import Config, HelperEntry, NetworkSettings, Policy
from proxy.config.values import PortRange
from proxy.host import rules, rules_iptables
from proxy.host.rules import Backend
from proxy.sockets import transparent
from tests.netns.namespaces import Hosts, Namespace

SECONDS = 5.0
"""For what should happen. What should not is given less, see `refused`."""

FTP = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21),))
LAN_OUT = Policy(name="lan-out", interfaces=("lan0",), accept=True)

both_backends = pytest.mark.parametrize("backend", list(Backend), ids=lambda backend: backend.value)
both_versions = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


def configuration(*policies: Policy, **network: object) -> Config:
    settings = NetworkSettings.model_validate(network)
    return Config(helpers=(FTP,), policies=policies or (LAN_OUT,), network=settings)


def drop_by_default(gateway: Namespace, config: Config, backend: Backend) -> None:
    """An administrator's ruleset: nothing comes in or through, but by our line and for IPv6 neighbours."""
    if backend is Backend.NFT:
        text = f"""
            table inet filter {{
                chain input {{
                    type filter hook input priority filter; policy drop;
                    {rules.input_line(config, backend)}
                    ct state invalid drop
                    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
                }}
                chain forward {{ type filter hook forward priority filter; policy drop; }}
            }}"""
        gateway.run("nft", "-f", "-", stdin=text)
        return
    for version, icmp in ((4, ""), (6, "-A INPUT -p icmpv6 -j ACCEPT\n")):
        text = (
            "*filter\n:INPUT DROP\n:FORWARD DROP\n"
            f"-A INPUT {rules.input_line(config, backend)}\n"
            f"-A INPUT -m conntrack --ctstate INVALID -j DROP\n{icmp}COMMIT\n"
        )
        gateway.run(f"{rules_iptables.command(version)}-restore", stdin=text)


def listen(namespace: Namespace, host: Host, port: int) -> socket.socket:
    """An ordinary server."""
    with namespace.inside():
        sock = socket.create_server((str(host), port), family=socket.AF_INET if host.version == 4 else socket.AF_INET6)
    sock.settimeout(SECONDS)
    return sock


def listen_transparent(namespace: Namespace, at: Endpoint) -> socket.socket:
    with namespace.inside():
        sock = transparent.listen(at, 5)
    sock.settimeout(SECONDS)
    return sock


def listen_main(namespace: Namespace, config: Config, version: int) -> socket.socket:
    host = ip_address("127.0.0.1" if version == 4 else "::1")
    return listen_transparent(namespace, Endpoint(host, config.network.listen_port))


def connect(namespace: Namespace, to: Endpoint, seconds: float = SECONDS) -> socket.socket:
    with namespace.inside():
        return socket.create_connection((str(to.host), to.port), timeout=seconds)


def refused(namespace: Namespace, to: Endpoint) -> bool:
    """Whether a connection is reset, or not answered for as long as a first retransmission takes."""
    try:
        connect(namespace, to, seconds=1.5).close()
    except (ConnectionRefusedError, ConnectionResetError, TimeoutError):
        return True
    return False


def echo(here: socket.socket, there: socket.socket) -> bool:
    """Whether bytes go both ways."""
    here.sendall(b"there")
    there.settimeout(SECONDS)
    if there.recv(16) != b"there":
        return False
    there.sendall(b"back")
    return here.recv(16) == b"back"


def serves(listener: socket.socket, client: socket.socket) -> bool:
    """Whether it is this listener that the client is connected to."""
    with listener.accept()[0] as accepted:
        return echo(client, accepted)


def session_passes(hosts: Hosts, config: Config, version: int) -> bool:
    """Whether a session and its second leg, with the client's own address as its source, carry bytes both ways."""
    target = Endpoint(hosts.server_address(version), 21)
    with (
        listen_main(hosts.gateway, config, version) as main,
        listen(hosts.server, target.host, target.port) as server,
    ):
        try:
            client = connect(hosts.client, target, seconds=1.5)
        except OSError:
            return False
        main.settimeout(1.5)
        server.settimeout(1.5)
        with client:
            try:
                near = main.accept()[0]
                with hosts.gateway.inside():
                    far = transparent.dial(target, Endpoint(hosts.client_address(version), 0))
                inside = server.accept()[0]
            except TimeoutError:
                return False
            with near, far, inside:
                far.settimeout(SECONDS)
                return echo(client, near) and echo(far, inside)
