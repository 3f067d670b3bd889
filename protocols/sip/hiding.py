"""Call-IDs that name an inside host: hidden from the other side, and given back (`topology_hiding`).

A Call-ID is opaque (S82), but many are made of a random part, `@` and the address of their maker. It stands in a field
of its own, and where another dialog is named by it: Replaces, Join, Target-Dialog, In-Reply-To, and escaped within URIs
of Refer-To (RFC 3891, 3911, 4538; S73).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from protocols.contract.addresses import Host, Peers, Side
from protocols.sip.message import Message
from protocols.toolbox.memory import Recent
from protocols.toolbox.spans import Span

_OTHERS = (b"replaces", b"join", b"target-dialog", b"in-reply-to")
"""Fields that name another dialog."""
_CALL_ID = re.compile(rb"(?:\A|,)[ \t\r\n]*+([^;, \t\r\n]++)")
_ESCAPED = re.compile(rb"[?&](?i:replaces|join|call-id)=([^;&>]*?)(?=%3[Bb]|[;&>]|\Z)")


class CallIds:
    """Hides the Call-IDs of the two sides of one flow."""

    __slots__ = ("_known", "_own", "_peers")

    def __init__(self, peers: Peers, known: Recent[tuple[bytes, Host], bytes]) -> None:
        """`known` maps each hidden Call-ID, with the host that is to get its own back, to what the Call-ID was."""
        self._peers = peers
        self._known = known
        self._own = {side: _pattern(peers, side) for side in Side if peers.is_mapped(side)}

    def hidden(self, call_id: bytes, side: Side) -> bytes:
        """A message's own Call-ID as the other side knows it. The hidden form is remembered."""
        new = self._hidden(call_id, side)
        if new != call_id:
            self._known.put((new, self._peers.own(side).host), call_id)
        return new

    def _hidden(self, call_id: bytes, side: Side) -> bytes:
        own = self._own.get(side)
        if own is None or not own.search(call_id):
            return call_id
        return own.sub(str(self._peers.as_seen(side).host).encode(), call_id)

    def changes(self, message: Message, side: Side) -> Iterator[tuple[str, tuple[Span, bytes]]]:
        """Where a message from `side` names a Call-ID that the other side knows in another form, and that form."""
        data = message.data
        if (other := self._own.get(side.other)) is not None and other.search(message.call_id):
            # It names the other one as only that one knows it: whoever guesses gets its own back, right or wrong.
            self._known.put((message.call_id, self._peers.own(side).host), message.call_id)
        for span in message.spans(b"call-id"):  # all of it, whatever stands in it
            if (new := self._other(data[span.start : span.end], side)) is not None:
                yield "call-id", (span, new)
        for name in _OTHERS:
            for span in message.spans(name):
                for match in _CALL_ID.finditer(data[span.start : span.end]):
                    if (new := self._other(match[1], side)) is not None:
                        at = Span(span.start + match.start(1), span.start + match.end(1))
                        yield name.decode(), (at, new)
        for span, address in message.addresses(b"refer-to"):
            behind = span.start + address.hostport.end if address.hostport is not None else span.start
            for match in _ESCAPED.finditer(data[behind : span.end]):
                plain = re.sub(rb"%40", b"@", match[1])
                if (new := self._other(plain, side)) is not None:
                    at = Span(behind + match.start(1), behind + match.end(1))
                    yield "refer-to", (at, new.replace(b"@", b"%40"))

    def _other(self, call_id: bytes, side: Side) -> bytes | None:
        new = self._known.get((call_id, self._peers.own(side.other).host)) or self._hidden(call_id, side)
        return new if new != call_id else None


def _pattern(peers: Peers, side: Side) -> re.Pattern[bytes]:
    host = re.escape(str(peers.own(side).host).encode())
    return re.compile(rb"(?<![0-9A-Fa-f.:])" + host + rb"(?![0-9A-Fa-f.:])")
