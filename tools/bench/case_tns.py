"""Oracle TNS: CONNECT, REDIRECT, CONNECT at the other place, ACCEPT; between the programs of
`python -m tools.bench tns`."""

from __future__ import annotations

import socket

from tools.bench import server
from tools.bench.case import Case
from tools.bench.client import tns


def session(host: str) -> None:
    tns(host, server.LISTENER_PORT, server.ELSEWHERE).close()


def hold(host: str) -> socket.socket:
    """Led nowhere else: what is held is the session that is read."""
    return tns(host, server.LISTENER_PORT, b"near")


CASE = Case("tns", "a redirected session", "tcp", server.LISTENER_PORT, server.begin, session, hold)
