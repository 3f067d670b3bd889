"""TLS on a port where a protocol is spoken in clear: it is known by its first byte, and then relayed unread or refused.

No engine reads what TLS carries. The option `tls` of each helper says whether such a connection may pass all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.contract.effects import Abort, Effect, Note, violation

HANDSHAKE = 0x16
"""The type of the first record that a client sends (RFC 8446 s.5.1). No line of text begins with it, and no packet of
TNS."""


def begins(data: bytes | bytearray) -> bool:
    """Whether a stream that begins with these bytes, one or more, is TLS."""
    return data[0] == HANDSHAKE


def passes(helper: str) -> Note:
    """The line of log for a connection that goes on unread."""
    return Note(f"{helper}.tls", {"action": "connection relayed unread"})


def is_denied(helper: str, how: str = "") -> Sequence[Effect]:
    """The end of a connection that may not be TLS. `how` is what else there is to say about it."""
    detail = f"the connection begins with TLS{how}"
    return violation(f"{helper}.tls_denied", detail, "closed"), Abort("tls_denied")
