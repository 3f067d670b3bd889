"""Which SIP messages have passed, counted by method and code for the operator.

RFC 3261 s.7.1 and the registries of IANA for methods and codes. A peer may write any method and any code from 100 to
699; those that nobody has registered are counted together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from protocols.contract.engine import Tally

METHODS = (
    b"INVITE",
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"REGISTER",
    b"OPTIONS",
    b"PRACK",
    b"UPDATE",
    b"SUBSCRIBE",
    b"NOTIFY",
    b"PUBLISH",
    b"INFO",
    b"REFER",
    b"MESSAGE",
)

OTHER = b"other"

_KNOWN = frozenset(METHODS)

_CODES = frozenset(
    {
        *(100, *range(180, 184), 199),
        *(200, 202, 204),
        *(300, 301, 302, 305, 380),
        *(*range(400, 411), *range(412, 418), *range(420, 426), 428, 429, 430, 433, *range(436, 441), 469, 470),
        *(*range(480, 490), 491, 493, 494),
        *(*range(500, 506), 513, 555, 580),
        *(600, 603, 604, 606, 607, 608),
    }
)

_USUAL = {
    b"INVITE": (100, 180, 183, 200, 401, 403, 404, 407, 408, 480, 481, 486, 487, 488, 491, 500, 503, 603),
    b"REGISTER": (200, 401, 403, 404, 407, 408, 423, 500, 503),
    b"BYE": (200, 408, 481),
    b"CANCEL": (200, 481),
    b"OPTIONS": (200, 404, 405),
}
"""Codes whose numbers are told from the start."""


class Seen:
    """The messages that the engines of a daemon have read."""

    __slots__ = ("counts", "repeated")

    def __init__(self) -> None:
        self.counts: dict[tuple[bytes, int], int] = {}
        """Method and status -> how many such messages; the status of a request is 0. Engines add to what is there by
        themselves, since each message costs that."""
        self.repeated = 0
        """Datagrams that had come before, and were answered as before."""

    def hear(self, method: bytes, status: int) -> None:
        """A message has come whose kind may be a new one."""
        kind = method if method in _KNOWN else OTHER, status
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def tallies(self) -> Sequence[Tally]:
        """The numbers, for the operator. Whoever asks for a rate needs the first number of a row to be 0, so the usual
        rows are there before anything has come."""
        methods = (*METHODS, OTHER)
        requests: dict[tuple[str, ...], int] = {
            (method.decode(),): self.counts.get((method, 0), 0) for method in methods
        }
        responses: Counter[tuple[str, ...]] = Counter(
            {(method.decode(), str(code)): 0 for method, codes in _USUAL.items() for code in codes}
        )
        for (method, status), count in self.counts.items():
            if status:
                responses[method.decode(), _code(status)] += count
        return (
            Tally("sip_requests", "SIP requests that came", ("method",), requests),
            Tally(
                "sip_responses",
                "SIP responses that came, by the method that they answer",
                ("method", "code"),
                responses,
            ),
            Tally("sip_repeated", "Datagrams that had come before", (), {(): self.repeated}),
        )


def _code(status: int) -> str:
    """The code, or the class of one that nobody has registered."""
    return str(status) if status in _CODES else f"{status // 100}xx"
