"""What the audit log is told of the messages of one flow: which addresses were rewritten or left, and what was odd.

The same few addresses change in every message of a phone. So each fact is told once, and remembered by its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from protocols.contract.addresses import Host, Peers, Side
from protocols.sip import left as sip_left
from protocols.sip.described import Moved
from protocols.sip.head import MAX_ID_BYTES
from protocols.sip.message import Message
from protocols.sip.spellings import Change

MAX_TOLD = 64
"""The number of facts of one flow that the log is told of."""


class Told:
    """What the log has been told of one flow."""

    __slots__ = ("_note", "_told", "_watched")

    def __init__(self, peers: Peers, note: Callable[[str, dict[str, Any]], None]) -> None:
        self._note = note
        self._told: set[int] = set()
        self._watched = {side: _watched(peers, side) for side in Side}

    def changes(self, message: Message, changes: Sequence[tuple[str, Change]], moved: Sequence[Moved]) -> None:
        """Addresses that were rewritten in the head, and media that is announced elsewhere."""
        data = message.data
        fresh: list[dict[str, Any]] = []
        for field, (span, new) in changes:
            before = data[span.start : span.end][:MAX_ID_BYTES]
            if before != new and self._is_fresh((field, before, new)):
                fresh.append({"field": field, "before": before, "after": new})
        for field, was, now_at in moved:
            fresh.append({"field": field, "before": was, "after": now_at})
        if fresh:
            self._note("address.rewritten", {"message": message.trigger, "changes": fresh})

    def left(self, message: Message, side: Side, body: bytes | None) -> None:
        """Addresses that a rewritten message still tells: they stand in fields or in a body that nobody follows."""
        own, watched = self._watched[side]
        left: list[tuple[str, str]] = []
        if own is not None and not message.names <= sip_left.SILENT:
            left += ((name, "not_mapped") for name in sip_left.in_fields(message, own))
        if message.body.end > message.body.start:
            now = message.data[message.body.start : message.body.end] if body is None else body
            # Of most bodies that is known by a search for the text of an address.
            named = [host for host, text in watched if text in now]
            if named and (kind := sip_left.in_body(message, now, named)) is not None:
                left.append((f"body {kind}", "not_followed"))
        if left:
            self._tell_kept(message, [one for one in left if self._is_fresh(one)])

    def oddities(self, message: Message) -> None:
        """Tell the log what is not as the grammar has it and passed all the same, or was mended. The log is told where
        it stands and not what it says, for it may hold a password (X18)."""
        kept: list[tuple[str, str]] = []
        for oddity in message.oddities:
            if oddity.mended_at is not None:
                told = message.where(oddity)
                if self._is_fresh((told, message.is_request)):
                    self._note("violation", {"rule": "sip.malformed", "detail": told, "action": "mended"})
                continue
            field = oddity.name.decode("latin-1") or "line"
            if self._is_fresh((field, message.data[oddity.span.start : oddity.span.end])):
                kept.append((field, message.where(oddity)))
        self._tell_kept(message, kept)

    def _is_fresh(self, what: Hashable) -> bool:
        """Whether the log of this flow has not been told of this before. From now on it counts as told."""
        key = hash(what)
        if key in self._told or len(self._told) >= MAX_TOLD:
            return False
        self._told.add(key)
        return True

    def _tell_kept(self, message: Message, kept: Sequence[tuple[str, str]]) -> None:
        """Tell the log of fields that are as they came (`kept`), each with the reason."""
        if kept:
            changes = [{"field": field, "value": None, "reason": reason} for field, reason in kept]
            self._note("address.kept", {"message": message.trigger, "changes": changes})


def _watched(peers: Peers, side: Side) -> tuple[Host | None, list[tuple[Host, bytes]]]:
    """Addresses that mean nothing to the other side, so that a message from this side should not tell them, each with
    its text. The first one is this side's own host, if the other side knows it by an address of ours, or else None. The
    list also has the address of ours by which this side knows the other one."""
    own = peers.own(side).host if peers.is_mapped(side) else None
    known = peers.as_seen(side.other).host if peers.is_mapped(side.other) else None
    return own, [(host, str(host).encode()) for host in (own, known) if host is not None]
