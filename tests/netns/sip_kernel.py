"""The kernel's own SIP helper between a phone and a server: nf_conntrack_sip, and nf_nat_sip with NAT."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from tests.harness.sip_odd_values import OURS, PHONE, PHONE_PORT, SERVER, SERVER_PORT, Case, Row, Way, case, outcome
from tests.netns.namespaces import Hosts, run, three_hosts

MARKER = b"marker"
"""Too short to be SIP, and behind all that was sent before it."""

RULES = """
table ip sip {{
    ct helper sip {{ type "sip" protocol udp; }}
    chain prerouting {{
        type filter hook prerouting priority filter;
        udp dport 5060 ct helper set "sip"
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        {nat}
    }}
}}
"""


@dataclass
class KernelHelper:
    """At the gateway. Sockets of both ends stand on port 5060."""

    phone: socket.socket
    server: socket.socket
    is_nat: bool

    def flush(self) -> None:
        run("conntrack", "-F")

    def _hear(self, ear: socket.socket) -> bytes | None:
        """What comes before the next marker."""
        got: bytes | None = None
        while (data := ear.recv(65535)) != MARKER:
            got = data
        return got

    def send(self, data: bytes, from_phone: bool) -> bytes | None:
        """What the other end gets; None if the helper has dropped it."""
        if from_phone:
            mouth, ear, to = self.phone, self.server, (SERVER, 5060)
        else:
            mouth, ear, to = self.server, self.phone, (OURS if self.is_nat else PHONE, 5060)
        for datagram in (data, MARKER):
            mouth.sendto(datagram, to)
        return self._hear(ear)

    def expects(self, port: int) -> bool:
        return f"dport={port} " in run("conntrack", "-L", "expect")


@contextlib.contextmanager
def kernel_helper(hosts: Hosts, is_nat: bool) -> Iterator[KernelHelper]:
    hosts.server.run("ip", "address", "add", f"{SERVER}/32", "dev", "eth0")
    hosts.server.run("ip", "route", "add", f"{OURS}/32", "via", "192.0.2.1")
    run("ip", "address", "add", f"{OURS}/32", "dev", "wan0")
    run("ip", "route", "add", f"{SERVER}/32", "via", "192.0.2.2")
    run("nft", "-f", "-", stdin=RULES.format(nat=f"ip saddr {PHONE} snat to {OURS}" if is_nat else ""))
    with hosts.client.inside():
        phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        phone.bind((PHONE, 5060))
    with hosts.server.inside():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((SERVER, 5060))
    with phone, server:
        for end in (phone, server):
            end.settimeout(10)
        yield KernelHelper(phone, server, is_nat)


def kernels(helper: KernelHelper, row: Row, way: Way) -> str:
    """What it does with a row, in the words of the table."""
    said: Case = case(row, way)
    helper.flush()
    if said.before:
        helper.send(said.before, True)
    sent = helper.send(said.message, way.is_out)
    return outcome(said, sent, helper.expects(PHONE_PORT if way.is_out else SERVER_PORT))


@contextlib.contextmanager
def at_the_kernel(is_nat: bool) -> Iterator[KernelHelper]:
    with three_hosts() as hosts, hosts.gateway.inside(), kernel_helper(hosts, is_nat) as helper:
        yield helper
