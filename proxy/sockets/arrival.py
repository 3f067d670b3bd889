"""What has arrived: from where, to where and by which interface."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Transport


@dataclass(frozen=True, slots=True)
class Arrival:
    """A new session as it reached us: who dialled whom, by which interface."""

    transport: Transport
    interface: str
    client: Endpoint
    server: Endpoint
