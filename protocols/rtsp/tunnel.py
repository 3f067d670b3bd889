"""RTSP in two connections of HTTP (RT37): one GET whose answer has what the server says, one POST with what its client
says in base64. All media is in them, so nothing is opened, and once the heads have passed nothing is read.

    client: GET /x HTTP/1.0                    server: HTTP/1.0 200 OK
            x-sessioncookie: C                         X-Server-IP-Address: 10.0.0.5     mapped, if the server is (RT39)
            Accept: application/x-rtsp-tunnelled       Content-Type: application/x-rtsp-tunnelled

A page in a browser can send HTTP to any port, but no x-sessioncookie to a server that has not agreed to that by an
OPTIONS of HTTP, which is no head of a tunnel (RT38).
"""

from __future__ import annotations

import re

from protocols.contract.addresses import Peers, Side
from protocols.rtsp.urls import host_of
from protocols.rtsp.wire import Head
from protocols.toolbox.spans import replace

_KIND = b"application/x-rtsp-tunnelled"
_COOKIE = re.compile(rb"[!-~]{1,128}")
_WHERE = {b"GET": b"accept", b"POST": b"content-type"}
"""Method -> the field that names the kind of what is carried."""


def is_tunnel(head: Head) -> bool:
    """Whether this request of HTTP begins one half of a tunnel."""
    field = _WHERE.get(head.method)
    if field is None or len(head.fields.get(b"x-sessioncookie", ())) != 1:
        return False
    kinds = [kind.strip() for kind in head.first(field).lower().split(b",")]
    return _KIND in kinds and _COOKIE.fullmatch(head.first(b"x-sessioncookie")) is not None


def mapped(head: Head, peers: Peers) -> bytes:
    """The answer to GET. It may say where the POST is to go, and does so by the server's own address."""
    changes = [
        (span, str(peers.server_as_seen.host).encode())
        for span in head.fields.get(b"x-server-ip-address", ())
        if peers.is_mapped(Side.SERVER) and host_of(head.value(span)) == peers.server.host
    ]
    return replace(head.data, changes)
