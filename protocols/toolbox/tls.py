"""TLS on a port where a protocol is spoken in clear: known by its first byte, then relayed unread or refused.

No engine reads what TLS carries. Whether such a connection may pass all the same is each helper's option `tls`.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.contract.effects import Abort, Effect, Note, violation

HANDSHAKE = 0x16
"""The type of the first record that a client sends (RFC 8446 s.5.1). No line of text begins with it, and no packet of
TNS."""


def begins(data: bytes | bytearray) -> bool:
    """Whether a stream of which this is the beginning, one byte or more, is one of TLS."""
    return data[0] == HANDSHAKE


def passes(helper: str) -> Note:
    """The line of log for a connection that goes on unread."""
    return Note(f"{helper}.tls", {"action": "connection relayed unread"})


def is_denied(helper: str, how: str = "") -> Sequence[Effect]:
    """The end of a connection that may not be TLS. how: what else there is to say of it."""
    detail = f"the connection begins with TLS{how}"
    return violation(f"{helper}.tls_denied", detail, "closed"), Abort("tls_denied")
