"""When a SIP call begins, how long it lives, and when it is over.

RFC 3261 s.13 (a call begins), s.15 (BYE), s.17.1.1.2 (who waits for how long); RFC 4028 (session timers). What begins,
prolongs or ends a call is said by messages (dialogs.py); here is what the clock and the pinholes say, and what happens
to a call that is over. Its end stands in the log once its last place for media is closed: then all is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from protocols.contract.addresses import Peers, Side
from protocols.contract.pinholes import AnyGrant, Closed, Pinholes
from protocols.sdp.parties import Role, Terms
from protocols.sip.answers import Refused
from protocols.sip.calls import MAX_CALLS, Call, Hosts
from protocols.sip.head import MAX_ID_BYTES
from protocols.sip.message import Message
from protocols.sip.offers import CallMedia
from protocols.sip.options import SipOptions
from protocols.sip.table import SipTable
from protocols.sip.ways import DIALOG_SECONDS
from protocols.toolbox.clock import Clock
from protocols.toolbox.memory import NAMES_BYTES, as_client

_ENDS = {"idle": "media_idle", "closed_by_operator": "closed_by_operator"}
"""Why its last place of media was closed -> why a call is over for that."""
UNHEARD_SECONDS = 32.0
"""The time from an INVITE to any response. Whoever asks has given up then (RFC 3261 s.17.1.1.2, timer B)."""


class Lifetimes:
    """The clock of the calls that began on one flow or connection, and of other calls whose end its engine has put
    off."""

    __slots__ = (
        "_behind_us",
        "_client",
        "_clock",
        "_inside",
        "_note",
        "_options",
        "_peers",
        "_pinholes",
        "_table",
        "_terms",
    )

    def __init__(
        self,
        peers: Peers,
        options: SipOptions,
        pinholes: Pinholes,
        table: SipTable,
        note: Callable[[str, dict[str, Any], Mapping[str, Any] | None], None],
    ) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._table = table
        self._note = note
        self._terms = Terms(options.ring_seconds + 60, options.media_idle, options.media_hosts, options.media_from)
        self._clock: Clock[Call] = Clock()
        self._behind_us = Side.SERVER if peers.role is not None else Side.CLIENT
        self._client = as_client(peers.own(self._behind_us).host)
        self._inside = frozenset(filter(self._is_inside, Side))

    def __len__(self) -> int:
        return len(self._clock)

    def _is_inside(self, side: Side) -> bool:
        """Whether this side is the one that NAT hides: it has an address of ours. Without NAT, the side whose sessions
        policies let out; but not a public client that a policy let in to a private server."""
        peers = self._peers
        if any(map(peers.is_mapped, Side)):
            return peers.is_mapped(side)
        if peers.own(side).host.is_global and peers.own(side.other).host.is_private:
            return False
        return side is self._behind_us

    # -- life --------------------------------------------------------------------------------------------------------

    def begin(self, first: Message, tag: bytes, hosts: Hosts, asking: Side, is_resumed: bool, now: float) -> Call:
        """Begin the call whose first message has come from the side that asks. Raises Refused if there are too many
        calls."""
        table, key, client = self._table, (first.call_id, tag), self._client
        parties = first.identity(b"from")[:MAX_ID_BYTES], first.identity(b"to")[:MAX_ID_BYTES]
        is_full = len(table.calls.standing) >= MAX_CALLS or table.calls.of_client[client] >= self._options.max_calls
        if is_full or not table.memory.keep(_bytes_kept(key, parties)):
            status = 500 if is_resumed else 503
            detail = f"{table.calls.of_client[client]} of {client}, {len(table.calls.standing)} in all"
            facts = {"rule": "sip.too_many_calls", "detail": detail, "action": f"answered {status}"}
            self._note("violation", facts, None)
            raise Refused(status, b"Too Many Calls")
        # A session that a pinhole let in was opened by its server: as the policy sees it, that one is the client.
        side = asking.other if self._peers.role is not None else asking
        sides = (Role.CALLER, asking), (Role.CALLEE, asking.other)
        behind_us = tuple(role for role, at in sides if at in self._inside)
        named = {"call_id": first.call_id, "direction": _direction(behind_us, side)}
        media: CallMedia[Call] = CallMedia(client, self._pinholes.apart(named), self._terms, table.calls)
        call = Call(first.call_id, tag, hosts, side, media, self._clock, named)
        call.parties = parties
        call.is_resumed = is_resumed
        call.behind_us = behind_us
        call.began_at = now
        call.lasts = self._options.call_idle
        table.calls.standing.setdefault(key, []).append(call)
        table.calls.of_client[client] += 1
        self.put_off(call, self.unheard_seconds, now)
        return call

    @property
    def unheard_seconds(self) -> float:
        """For how many seconds an INVITE may go without any response."""
        return min(UNHEARD_SECONDS, self._options.ring_seconds)

    def put_off(self, call: Call, seconds: float, now: float) -> None:
        """The call lives for so many seconds from now, unless its end is put off once more."""
        call.put_off(now + seconds, self._clock)

    # -- ends --------------------------------------------------------------------------------------------------------

    def closed(self, call: Call, grant: AnyGrant, event: Closed, now: float) -> None:
        """A media place of a call is gone."""
        call.media.closed(grant, event)
        if call.ending is None and not call.media and event.reason in _ENDS:
            self.end(call, _ENDS[event.reason], now)
        else:
            self._tell_end(call, now)

    def next(self) -> float | None:
        """The time at which a call is to be looked at next."""
        return self._clock.next()

    def tick(self, now: float) -> None:
        """End the calls whose time is over, unless their media is still heard."""
        for call in self._clock.due(now):
            if call.ending is not None:
                continue
            if call.ends_at > now:
                self._clock.set(call, call.ends_at)
            elif call.started_at is None and call.is_heard(now, DIALOG_SECONDS):
                call.put_off(now + self._options.media_idle, self._clock)  # whoever waits is told something meanwhile
            elif call.lasts == self._options.call_idle and call.is_heard(now, DIALOG_SECONDS):
                call.put_off(now + call.lasts, self._clock)  # a session does not idle out while its data moves (X14)
            else:
                self.end(call, "timeout" if call.started_at is not None else "not_answered", now)

    def stop(self, now: float) -> None:
        """The engine ends, and its calls end with it."""
        for call in self._clock.all():
            if call.clocks[0] is self._clock:
                self.end(call, "stopped", now)

    def end(self, call: Call, reason: str, now: float) -> None:
        """End the call: its media is closed, and nobody finds it any more."""
        if call.ending is None:
            call.ending = reason
            self._drop(call)
            # An INVITE that comes again would announce places that are gone. Of one that was refused nobody reads that
            # any more (RFC 3261 s.17.2.1), and the refusal, which comes again too, would end no call begun by it.
            for key in call.invites if call.started_at is not None else ():
                self._table.repeats.drop(key)
            call.close(now)
            self._tell_end(call, now)

    def _drop(self, call: Call) -> None:
        """From now on no message belongs to the call."""
        for clock in call.clocks[1:]:
            clock.forget(call)
        table, key = self._table, (call.key, call.caller_tag)
        if call in (calls := table.calls.standing.get(key, [])):
            calls.remove(call)
            table.memory.release(_bytes_kept(key, call.parties))
            if not calls:
                del table.calls.standing[key]
            client = call.media.charged_to
            table.calls.of_client[client] -= 1
            if not table.calls.of_client[client]:
                del table.calls.of_client[client]

    def _tell_end(self, call: Call, now: float) -> None:
        """Tell the log of the call's end when its last medium is closed, and counted."""
        if call.ending is None or call.media or call.is_told:
            return
        call.is_told = True
        call.clocks[0].forget(call)  # whose engine was needed until now, to hear of what is closed
        facts: dict[str, Any] = {"call_id": call.key}
        if call.started_at is not None:
            seconds = round(now - call.started_at, 3)
            facts |= {"reason": call.ending, "duration_seconds": seconds, "streams": call.media.streams()}
            self._note("call.ended", facts, call.named)
        elif not call.is_resumed:
            code, words = call.refusal or (None, call.ending.encode())
            caller, callee = call.parties
            facts |= {"from": caller, "to": callee, "code": code, "reason": words}
            self._note("call.failed", facts | {"duration_seconds": round(now - call.began_at, 3)}, call.named)


def _direction(behind_us: Sequence[Role], side: Side) -> str:
    """Which way a call goes, by who is behind this gateway, or else by the side of the policy that its caller is on."""
    if len(behind_us) == 1:
        return "out" if Role.CALLER in behind_us else "in"
    return "out" if side is Side.CLIENT else "in"


def _bytes_kept(key: tuple[bytes, bytes], parties: tuple[bytes, bytes]) -> int:
    """The number of bytes that a call's Call-ID, caller's tag and parties take in the table and in the call."""
    return 2 * (len(key[0]) + len(key[1])) + len(parties[0]) + len(parties[1]) + NAMES_BYTES
