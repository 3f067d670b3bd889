"""SIP: a call with audio, from INVITE to the answer to BYE, without the audio; between the phones of
`python -m tools.bench sip`."""

from __future__ import annotations

from functools import cache

from tools.bench.case import Case, own_address
from tools.bench.phones import Callee, Caller


@cache
def _caller(server: str) -> Caller:
    """One phone for all calls: it has one address."""
    return Caller(own_address(server), server)


async def serve(host: str) -> None:
    Callee(host, host)


def session(server: str) -> None:
    _caller(server).call("audio")


def hold(server: str) -> object:
    """A fax: a call with audio would take twice as many descriptors."""
    return _caller(server).hold(1, "fax")


CASE = Case(
    "sip", "a call", "udp", 5060, serve, session, hold, kernel="sip", options="{max_calls: 100000}", in_one_flow=True
)
