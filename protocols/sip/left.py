"""What a message still tells of a mapped address when it has been rewritten: not followed, and so told of in the log.

RFC 3680, 4235, 3863, 3420 and others have bodies that name addresses (S88): registration state names contacts, dialog
state what can be picked up. A phone does not find itself in the first, and nobody outside reaches what the second
names. They pass as they came, and so do header fields that nobody has told us of; one line says which and why.
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
"""Fields in which addresses are mapped, or that hold none, or are opaque (S78, S81, S82)."""


def in_fields(message: Message, host: Host) -> Iterator[str]:
    """Names of the fields besides those that are mapped, in which this address stands."""
    for name in message.names - SILENT:
        if any(_names(message.data[span.start : span.end], host) for span in message.spans(name)):
            yield name.decode("latin-1")


def in_body(message: Message, body: bytes, hosts: Collection[Host]) -> str | None:
    """The type of a body that is no session description, if one of these addresses stands in it. Of one in several
    parts, the descriptions in it have been told of by the lines in which they name one."""
    kind = (message.first(b"content-type") or b"no type").partition(b";")[0].strip().lower()
    if kind == b"application/sdp" or not any(_names(body, host) for host in hosts):
        return None
    return kind.decode("latin-1")


def _names(text: bytes, host: Host) -> bool:
    at = Endpoint(host, 0)
    return any(odd.renamed(text, at, at))
