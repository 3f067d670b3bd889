"""Requests in the name of hosts that have not sent them (TF22): with a forged source a small request makes a server
send its answer to somebody else, and repeat it some times.

Such a victim says nothing to the answer, or that it knows of no such transfer, so answers are counted that nobody took
up. What no server answers is none of them: it reaches nobody. Who forges requests to a server that answers from port 69
can forge the ACK as well, and is not found out; where the server takes another port, it is one that he does not hear
of.
"""

from __future__ import annotations

from typing import TypeVar

from protocols.contract.addresses import Host

WINDOW_SECONDS = 60.0
MAX_HOSTS = 10_000
"""How many hosts are counted at once, and how many clients are remembered: those that were named last."""


class Guard:
    """How many answers of the last minute nobody took up, by the host that they went to and by the server's."""

    __slots__ = ("_known", "_unheard")

    def __init__(self) -> None:
        self._unheard: dict[Host, tuple[float, int]] = {}
        """host -> since when it is counted, and how many there were."""
        self._known: dict[Host, None] = {}
        """Clients that have taken an answer up: nobody forges these."""

    def refuses(self, client: Host, server: Host, most: int, now: float) -> Host | None:
        """The host for whose sake a request is not passed on; None when it may pass. A client that has taken an answer
        up before is served even when a server is misused in the name of others."""
        if self._count(client, now) >= most:
            return client
        return server if client not in self._known and self._count(server, now) >= most else None

    def unheard(self, client: Host, server: Host, now: float) -> None:
        """The server has answered, and the client has said nothing to that for some seconds, or that it did not ask."""
        for host in (client, server):
            count = self._count(host, now)
            since, _ = self._unheard.pop(host) if count else (now, 0)
            _put(self._unheard, host, (since, count + 1))

    def heard(self, client: Host) -> None:
        """The client has taken an answer up."""
        self._known.pop(client, None)
        _put(self._known, client, None)

    def _count(self, host: Host, now: float) -> int:
        since, count = self._unheard.get(host, (now, 0))
        if now - since < WINDOW_SECONDS:
            return count
        del self._unheard[host]
        return 0


Value = TypeVar("Value")


def _put(table: dict[Host, Value], host: Host, value: Value) -> None:
    """The host is the last one of the table, whose first one goes when it is full."""
    if len(table) >= MAX_HOSTS:
        del table[next(iter(table))]
    table[host] = value
