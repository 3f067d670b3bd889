"""Offers of media that have no answer yet, and how many of them there may be.

An offer takes ports of ours for as long as it rings, and costs its sender one datagram. So the unanswered offers of one
client may hold a share of the ports, and those of all clients together half of them: calls that run are not touched by
it. When that half is full, the oldest offer of the client with the most of them gives way.
"""

from __future__ import annotations

from operator import attrgetter

from proxy.pinholes.media import MediaPlace
from proxy.sockets.ports import PortPool

OF_A_CLIENT = 16
"""The part of the ports (one divided by this) that unanswered offers of one client may hold: of 20,000 ports that is
1,250, as many as 625 phones that ring at once."""
OF_ALL = 2
"""The part of the ports (one divided by this) that unanswered offers of all clients may hold."""
LEAST_OF_A_CLIENT = 64
"""One client may hold this many ports, however few there are: two calls of 16 media."""


class _Held:
    """The unanswered offers of one client."""

    __slots__ = ("places", "ports")

    def __init__(self) -> None:
        self.places: dict[MediaPlace, int] = {}
        """The places of the offers, oldest first, each with the number of its ports."""
        self.ports = 0
        """The ports of all these places together."""


class Offers:
    """All unanswered offers. The table of pinholes owns it."""

    def __init__(self, ports: PortPool) -> None:
        self._pool = ports
        self._of: dict[str, _Held] = {}
        self._client_of: dict[MediaPlace, str] = {}
        self._ports = 0

    def make_room(self, client: str) -> bool:
        """Whether this client may make one more offer. When all offers together hold too many ports, an older one gives
        way."""
        held = self._of.get(client)
        if held is not None and held.ports >= max(len(self._pool) // OF_A_CLIENT, LEAST_OF_A_CLIENT):
            return False
        if self._ports >= len(self._pool) // OF_ALL:
            most = max(self._of.values(), key=attrgetter("ports"))
            next(iter(most.places)).shut("gave_way")
        return True

    def add(self, place: MediaPlace) -> None:
        """The place of a new offer counts from now on."""
        if not (ports := place.ports):
            return
        client = place.owner.charged_to
        held = self._of.get(client)
        if held is None:
            held = self._of[client] = _Held()
        held.places[place] = ports
        held.ports += ports
        self._client_of[place] = client
        self._ports += ports

    def remove(self, place: MediaPlace) -> None:
        """The offer was answered, or its place is gone. A second time this has no effect."""
        client = self._client_of.pop(place, None)
        if client is None:
            return
        held = self._of[client]
        ports = held.places.pop(place)
        self._ports -= ports
        held.ports -= ports
        if not held.places:
            del self._of[client]
