"""A new session as it arrives: from where, to where and by which interface."""

from __future__ import annotations

from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Transport


class Arrival(NamedTuple):
    """A new session as it reached us: which client dialled which server, and by which interface."""

    transport: Transport
    interface: str
    client: Endpoint
    server: Endpoint
