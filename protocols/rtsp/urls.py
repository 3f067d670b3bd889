"""Addresses in URLs and descriptions: where a server names its own host, and what its client knows that host as.

A server that is published under another address may name its own one in what it says, and its client would go there.
So that address is mapped wherever it stands, by value and with all else as it was (RT34). Request-URIs are never
changed: the answer to a challenge repeats them (RT33).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from protocols.contract.addresses import Endpoint, Host, Malformed, Peers, Side
from protocols.rtsp.wire import Head
from protocols.sdp import relocate
from protocols.toolbox import grammar
from protocols.toolbox.spans import Span, replace

PORT = 554
"""That of a URL without one (RFC 2326 s.3.2)."""
FIELDS = (b"content-base", b"content-location", b"location", b"rtp-info")
"""Fields of a server that hold URLs which its client follows."""
SDP = b"application/sdp"

_URL = re.compile(
    rb"(?i)rtsp[su]?://(?:[^/@\s\"<>]{1,256}+@)?(?P<host>\[[0-9a-f:.]{2,45}+\]|[^\s:/?#;,\"'<>\[\]]{1,255}+)"
    rb"(?::(?P<port>[0-9]{1,5})(?![0-9]))?"
)
_CONTROL = re.compile(rb"(?im)^a=control:[^\r\n]*+")
PASSWORDS = rb"pass(?:w(?:or)?d)?|pwd|token|auth|key|secret|sig(?:nature)?"
"""Names of values in URLs that let somebody in."""
_USER = re.compile(rb"(?<=://)[^/\s]*@")
_SECRET = re.compile(rb"(?i)\b(user(?:name)?|usr|login|%b)=[^&;/?\s]*" % PASSWORDS)

Change = tuple[Span, bytes]
Named = tuple[str, Change]
"""A change, and the field that it is in."""


def host_of(text: bytes) -> Host | None:
    """The address that this text is, with or without brackets. None: a name, or nothing."""
    bare = text.strip(b"[]") if text.startswith(b"[") else text
    try:
        host: Host = grammar.read(grammar.IPV6 if b":" in bare else grammar.IPV4, bare)
    except Malformed:
        return None
    mapped = host.ipv4_mapped if host.version == 6 else None
    return mapped or host


def spelled(host: Host) -> bytes:
    """The host as a URL spells it."""
    return b"[%b]" % str(host).encode() if host.version == 6 else str(host).encode()


def mapped(text: bytes, own: Endpoint, seen: Endpoint) -> list[Change]:
    """What becomes of the URLs in this text that name a host by its own address."""
    changes: list[Change] = []
    for url in _URL.finditer(text):
        if host_of(url["host"]) != own.host:
            continue
        port = int(url["port"]) if url["port"] else PORT
        if port == own.port:
            port = seen.port
        is_said = url["port"] is not None or port != PORT
        at = Span(url.start("host"), url.end("port") if url["port"] else url.end("host"))
        changes.append((at, spelled(seen.host) + (b":%d" % port if is_said else b"")))
    return changes


def _in_fields(head: Head, own: Endpoint, seen: Endpoint) -> Iterator[Named]:
    """The same for the fields of a message, each change with the field's name."""
    for name in FIELDS:
        for span in head.fields.get(name, ()):
            for (start, end), new in mapped(head.value(span), own, seen):
                yield name.decode(), (Span(span.start + start, span.start + end), new)


def in_description(body: bytes, own: Endpoint, seen: Endpoint) -> bytes:
    """A description in which its author is named as the other side knows it (RT34). It opens nothing."""
    changes = [
        (Span(line.start() + start, line.start() + end), new)
        for line in _CONTROL.finditer(body)
        for (start, end), new in mapped(line[0], own, seen)
    ]
    return relocate.with_other_host(replace(body, changes), own.host, seen.host)


def relocated(head: Head, peers: Peers, side: Side, changes: Sequence[Named]) -> tuple[bytes, list[dict[str, object]]]:
    """A message as the other side is to have it: with these changes, and with those of addresses that stand anywhere
    (RT34). Also what the log is told of them."""
    every, body = list(changes), head.body
    if (names := _names(peers, side)) is not None:
        if side is Side.SERVER:
            every += _in_fields(head, *names)
        if body and head.first(b"content-type").lower().startswith(SDP):
            body = in_description(body, *names)
            length = b"%d" % len(body)
            every += (("content-length", (span, length)) for span in head.fields[b"content-length"])
    every.sort(key=lambda change: change[1][0])
    told: list[dict[str, object]] = [
        {"field": name, "before": head.value(span), "after": new}
        for name, (span, new) in every
        if name != "content-length"
    ]
    if body != head.body:
        told.append({"field": "sdp", "before": None, "after": None})
    return replace(head.data, [change for _, change in every]) + body, told


def _names(peers: Peers, side: Side) -> tuple[Endpoint, Endpoint] | None:
    """The side's own address, and the one by which the other side knows it. None: they are the same. The port of a
    client is none that URLs have."""
    if not peers.is_mapped(side):
        return None
    own, seen = peers.own(side), peers.as_seen(side)
    return (own, seen) if side is Side.SERVER else (Endpoint(own.host, 0), Endpoint(seen.host, 0))


def told(url: bytes) -> bytes:
    """A URL as the log may have it: without what could let somebody in (X18)."""
    return _SECRET.sub(rb"\1=...", _USER.sub(b"", url))[:512]
