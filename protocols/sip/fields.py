"""Header fields whose values are addresses, by what is done with an address that stands there.

RFC 3261 s.20 and, for those of other documents, RFC 3325, 3515, 3608, 3892, 5806, 7044.
"""

from __future__ import annotations

_PEOPLE = frozenset(
    (
        b"referred-by",
        b"p-asserted-identity",
        b"p-preferred-identity",
        b"remote-party-id",
        b"diversion",
        b"reply-to",
        b"history-info",
        b"p-associated-uri",
        b"p-called-party-id",
        b"p-served-user",
    )
)
_PLACES = frozenset((b"contact", b"route", b"record-route", b"path", b"service-route", b"refer-to"))
ADDRESSES = _PLACES | _PEOPLE
"""Fields whose values are addresses, of those in which a party names itself or the other."""
IDENTITIES = frozenset((b"from", b"to"))
"""Fields that name people, and that signatures cover (S80, S81). They are mapped only to hide the network behind us."""
NAMES = IDENTITIES | _PEOPLE
"""Fields that say who somebody is, and that nobody sends a request to. Their host is mapped and nothing is opened; one
that cannot be read costs no call."""

AGREED_BY_2XX = frozenset((b"REGISTER", b"INVITE", b"SUBSCRIBE"))
"""Methods of requests whose Contact the other side is to use from their 2xx on (RFC 3261 s.10, s.12; RFC 6665)."""
