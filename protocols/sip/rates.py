"""How many requests a source may send in a second, by method (`rates`).

The first ones above a limit are answered, and a flood is not even read. Repeats are counted apart and dropped, for each
has had its answer or will have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from protocols.contract.addresses import Host
from protocols.sip.head import MAX_METHOD_BYTES
from protocols.toolbox.rates import PerSecond

_ENDING = ("ACK", "BYE", "CANCEL")
"""Methods without which a call does not come to its end."""


class Excess(NamedTuple):
    """A request that is one more than its source may send."""

    is_answered: bool
    is_told: bool
    """The log is to be told."""
    detail: str


class Rates:
    """The number of requests of each source and method in the current second, for each limit of its own, since policies
    may differ."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = PerSecond[tuple[Host, str, int]]()

    def excess(
        self, source: Host, data: bytes, limits: Mapping[str, int], is_repeat: bool, now: float
    ) -> Excess | None:
        """Count a message that has come from this source. None: it may go on."""
        # Line ends before it mean nothing (S4).
        method = data.lstrip(b"\r\n")[: MAX_METHOD_BYTES + 1].partition(b" ")[0].decode("latin-1")
        if method.upper().startswith("SIP/"):
            return None
        if method not in limits and method not in _ENDING:
            method = "OTHER"  # together, for there are as many names as one likes
        limit = limits.get(method)
        if limit is None:
            return None
        if is_repeat:
            # Within a second a request comes twice again (timers A and E).
            method, limit = f"repeated {method}", 2 * limit
        count = self._counts.count((source, method, limit), now)
        if count <= limit:
            return None
        return Excess(
            is_answered=count <= 2 * limit and not is_repeat,
            is_told=count == limit + 1 or (count == 2 * limit + 1 and not is_repeat),
            detail=f"more than {limit} {method} a second from {source}",
        )
