"""MGCP as a helper: the engines of a daemon, what they have together, and what the registry knows of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from protocols.contract.addresses import Peers, Transport
from protocols.contract.engine import Begun, Helper
from protocols.contract.pinholes import Pinholes
from protocols.mgcp import wire
from protocols.mgcp.connections import ConnectionBook
from protocols.mgcp.engine import Commanding, MgcpEngine
from protocols.mgcp.options import PERMITS, MgcpOptions


class MgcpEngines:
    """Makes the engines of one daemon. They share the connections, since agents stand in for each other."""

    def __init__(self) -> None:
        self._table = ConnectionBook()

    def __call__(self, peers: Peers, options: MgcpOptions, pinholes: Pinholes, now: float) -> MgcpEngine:
        return MgcpEngine(peers, options, pinholes, now, self._table)

    def counts(self) -> Mapping[str, int]:
        """What is under way, for the daemon's status."""
        gateways = self._table.gateways
        return {
            "gateways": len(gateways),
            "connections": sum(gateway.count for gateway in gateways.values()),
        }

    def standing(self) -> Mapping[str, int]:
        return {**self.counts(), "media": len(self._table.media), "announced": len(self._table.announced)}


SECRET = re.compile(
    rb"^(a=crypto:[^\r\n]*?inline:|a=x-pc-secret:|k=[a-z]+:|[ \t]*O[ \t]*:)[^\r\n]+", re.MULTILINE | re.IGNORECASE
)
"""Keys of media (RFC 4568, PacketCable, RFC 8866 s.5.12), and the digits that somebody dials (MG9)."""

HELPER = Helper(
    name="mgcp",
    summary="MGCP: call agents that command media gateways, and the media of their connections",
    ports=((Transport.UDP, 2427), (Transport.UDP, 2727)),
    options=MgcpOptions,
    permits=PERMITS,
    servers_begin=(Begun(Transport.UDP),),
    start=MgcpEngines,
    purposes=("rtp", "udptl"),
    secret=SECRET,
    roles=(Commanding,),
    beside=Commanding(),
    begins=lambda data, options, role: wire.is_command(data),
    answers=wire.is_response,
)
