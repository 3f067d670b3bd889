"""Finds mapped addresses that a rewritten message still tells. They are not followed, so the log tells of them.

RFC 3680, 4235, 3863, 3420 and others define bodies that name addresses (S88). Registration state names contacts; a
phone does not find its own contact there. Dialog state names calls that can be picked up; nobody outside reaches the
addresses in it. Such bodies pass as they came, and so do header fields that are unknown here. One line of the log says
which and why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from protocols.contract.addresses import Endpoint, Host
from protocols.sip import odd
from protocols.sip.message import Message

SILENT = frozenset(
    b"""
    via from to contact route record-route path service-route refer-to referred-by p-asserted-identity
    p-preferred-identity remote-party-id diversion reply-to history-info p-associated-uri p-called-party-id
    p-served-user warning call-id cseq max-forwards
    content-type content-length content-encoding content-disposition user-agent server
    allow supported require proxy-require expires accept accept-encoding accept-language subject date event
    allow-events subscription-state session-expires min-se min-expires privacy rack rseq retry-after mime-version
    authorization proxy-authorization www-authenticate proxy-authenticate authentication-info replaces join
    target-dialog in-reply-to identity
    """.split()
)
"""Fields that need no line in the log: their addresses are mapped, or they hold none, or they are opaque (S78, S81,
S82)."""


def in_fields(message: Message, host: Host) -> Iterator[str]:
    """Names of the fields in which this address still stands, apart from the fields in SILENT."""
    for name in message.names - SILENT:
        if any(_names(message.data[span.start : span.end], host) for span in message.spans(name)):
            yield name.decode("latin-1")


def in_body(message: Message, body: bytes, hosts: Collection[Host]) -> str | None:
    """The type of a body that is no session description, if one of these addresses stands in it. For a body in several
    parts, the log has already told of the descriptions that name an address."""
    kind = (message.first(b"content-type") or b"no type").partition(b";")[0].strip().lower()
    if kind == b"application/sdp" or not any(_names(body, host) for host in hosts):
        return None
    return kind.decode("latin-1")


def _names(text: bytes, host: Host) -> bool:
    """Whether this text names the host."""
    at = Endpoint(host, 0)
    return any(odd.renamed(text, at, at))
