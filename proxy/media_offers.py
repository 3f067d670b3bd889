"""Offers of media that nobody has answered yet, and how many of them there may be.

An offer takes ports of ours for as long as it rings, and costs whoever makes it one datagram. So one client has a share
of the ports for what it has offered, and all clients together have half of them: what runs is not touched by it. When
that half is full, the oldest offer of the client with the most of them gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from protocols.engine import Host
from proxy.ports import PortPool

if TYPE_CHECKING:
    from proxy.media import MediaPlace

OF_A_CLIENT = 16
"""The part of the ports that unanswered offers of one client may hold: of 20,000 ports that is 1,250, as many as 625
phones that ring at once."""
OF_ALL = 2
LEAST_OF_A_CLIENT = 64
"""However few ports there are: two calls of 16 media."""


class Offers:
    def __init__(self, ports: PortPool) -> None:
        self._pool = ports
        self._of: dict[Host, OrderedDict[MediaPlace, int]] = {}
        """Of each client, the oldest first, with the ports of each."""
        self._ports_of: dict[Host, int] = {}
        self._ports = 0

    def make_room(self, client: Host) -> bool:
        """Whether this client may make an offer more."""
        if self._ports_of.get(client, 0) >= max(len(self._pool) // OF_A_CLIENT, LEAST_OF_A_CLIENT):
            return False
        if self._ports >= len(self._pool) // OF_ALL:
            most = max(self._ports_of, key=self._ports_of.__getitem__)
            next(iter(self._of[most])).shut("gave_way")
        return True

    def add(self, place: MediaPlace) -> None:
        if not place.ports:
            return
        client = place.owner.charged_to
        self._of.setdefault(client, OrderedDict())[place] = place.ports
        self._ports_of[client] = self._ports_of.get(client, 0) + place.ports
        self._ports += place.ports

    def remove(self, place: MediaPlace) -> None:
        """It was answered, or is over. Again: no effect."""
        client = place.owner.charged_to
        held = self._of.get(client)
        ports = held.pop(place, 0) if held is not None else 0
        if not ports:
            return
        self._ports -= ports
        self._ports_of[client] -= ports
        if not held:
            del self._of[client], self._ports_of[client]
