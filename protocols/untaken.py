"""Protocols that others have session helpers for and that are not taken over, each with the reason.

Sessions of these pass as the forward policy of the host says. A row leaves this table when a helper of its name comes
into the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.contract.addresses import Transport
from protocols.contract.engine import Helper


@dataclass(frozen=True, slots=True)
class Untaken:
    """A row of somebody else's table."""

    name: str
    """As FortiOS calls it, or the kernel."""
    transport: Transport
    port: int
    why: str


_TCP, _UDP = Transport.TCP, Transport.UDP

UNTAKEN = (
    Untaken("mms", _TCP, 1863, "the protocol is dead: its last servers went off in 2014"),
    Untaken("amanda", _UDP, 10080, "only `auth bsd` needs it; bsdtcp, the default, has a single connection"),
    Untaken("netbios-ns", _UDP, 137, "it answers broadcasts, which are not routed"),
    Untaken("snmp", _UDP, 161, "addresses in answers are not translated; it opens nothing"),
)


def untaken(registry: Mapping[str, Helper]) -> tuple[Untaken, ...]:
    """The rows that no helper of the registry has."""
    return tuple(row for row in UNTAKEN if row.name not in registry)
