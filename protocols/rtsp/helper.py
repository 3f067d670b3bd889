"""RTSP as a helper: the engines of a daemon, and what the registry knows of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from protocols.contract.addresses import Peers, Transport
from protocols.contract.engine import Begun, Helper
from protocols.contract.pinholes import Pinholes
from protocols.rtsp.engine import RtspEngine
from protocols.rtsp.options import PERMITS, RtspOptions
from protocols.rtsp.sessions import Table
from protocols.rtsp.urls import PASSWORDS


class RtspEngines:
    """Makes the engines of one daemon, which share what is agreed."""

    def __init__(self) -> None:
        self._table = Table()

    def __call__(self, peers: Peers, options: RtspOptions, pinholes: Pinholes, now: float) -> RtspEngine:
        return RtspEngine(peers, options, pinholes, now, self._table)

    def counts(self) -> Mapping[str, int]:
        """What is under way, for the daemon's status."""
        return {"presentations": len(self._table.sessions), "media": self._table.media}

    def standing(self) -> Mapping[str, int]:
        return self._table.standing()


SECRET = re.compile(
    rb"(^(?:(?:proxy-)?authorization|x-sessioncookie|keymgmt)[ \t]*:|://(?=[^/@ \t\r\n]*@)|[?&;/](?:%b)="
    rb"|^(?:a=crypto:[^\r\n]*?inline:|a=key-mgmt:|k=[a-z]+:))(?:[^\r\n]|\r?\n[ \t])+" % PASSWORDS,
    re.MULTILINE | re.IGNORECASE,
)
"""The answer to a challenge (RFC 2326 s.12.5) over all its lines, what opens a tunnel, passwords in URLs, and keys of
media (RFC 4567, RFC 4568, RFC 8866 s.5.12), with all that stands behind them on their line."""

HELPER = Helper(
    name="rtsp",
    summary="RTSP: cameras, players and IPTV, with their media over UDP",
    ports=((Transport.TCP, 554), (Transport.TCP, 7070), (Transport.TCP, 8554)),
    options=RtspOptions,
    permits=PERMITS,
    servers_begin=(Begun(Transport.UDP),),
    secret=SECRET,
    start=RtspEngines,
    purposes=("rtp", "stream"),
)
