"""H.225.0 call signalling: what each message opens, and what the other side reads in its place (HF24 to HF28, HF60).

Setup                  begins a call; may wait for H.245, propose media, carry H.245
CallProceeding ...     where the callee waits for H.245; its answer to the proposals
Connect                the callee takes the call
Facility               carries H.245; "open H.245 towards me"; or sends the caller elsewhere
ReleaseComplete        the call is over
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from protocols.contract.addresses import LEAST_PORT, Endpoint, Malformed, Side
from protocols.h323 import names
from protocols.h323.calls import MAX_ALIAS, Call, CallBook
from protocols.h323.channels import TooMany
from protocols.h323.names import Draft
from protocols.h323.per import Found
from protocols.h323.session import Session
from protocols.h323.walker import Other
from protocols.h323.wanted import TRAVERSAL
from protocols.h323.wire import Kind, Signal
from protocols.toolbox.memory import as_client

PORT = 1720
"""The port of H.323: to it a caller who is sent on begins a session of its own."""
_FORWARDS = frozenset(("callForwarded", "routeCallToGatekeeper", "routeCallToMC"))
_NESTED = frozenset(("fastStart", "h245Control", "parallelH245Control"))
MAX_CALLS = 64
"""How many calls one connection may carry at once: endpoints make a connection for each, gateways a few dozen."""
MAX_LEFT = 64
"""How many calls of one connection may be over and still have a way to where their callers were sent on. With one more
the oldest way is closed; as a rule a way is used within its first second."""


class Refused(Exception):
    """A Setup does not go on. The caller is answered ReleaseComplete for this call."""

    def __init__(self, identifier: bytes) -> None:
        super().__init__(identifier)
        self.identifier = identifier


class Signals:
    """The calls of one signalling connection."""

    __slots__ = ("_book", "_has_told_features", "_has_told_signed", "_known", "_session", "calls")

    def __init__(self, session: Session, book: CallBook) -> None:
        self._session = session
        self._book = book
        self.calls: dict[int, Call] = {}
        """By their numbers: all that are not over, or whose media is still to be counted."""
        self._known: dict[tuple[int | None, Side], Call] = {}
        """Call reference, and who has called -> the call that is known by it now (HF9)."""
        self._has_told_signed = self._has_told_features = False

    def message(self, side: Side, packet: bytes, signal: Signal, now: float) -> bytes:
        """What a packet becomes on the other side. Raises Refused, Malformed."""
        if signal.user is None:
            if signal.kind == Kind.RELEASE_COMPLETE:
                self._released(side, signal, "released", now)
            return packet
        start, end = signal.user
        user = packet[start:end]
        found = self._session.walkers.call.walk(user).found
        values = {label: value for label, _, _, value in reversed(found) if value is not None}
        body = str(values.get("body"))
        draft = Draft(packet, _named(signal.kind), start)
        call = self._call(side, signal, values, now)
        self._tell_features(side, found, values)
        if call is not None:
            call.touch(now)
        self._written(side, call, found, draft, now)
        if call is not None:
            if body == "facility":
                self._facility(side, call, values, found, draft, now)
            elif signal.kind == Kind.CONNECT and side is not call.caller_side:
                call.start(now)  # nobody takes a call that is its own
        for event, facts in draft.notes():
            self._session.note(event, facts)
        if signal.kind == Kind.RELEASE_COMPLETE:
            self._released(side, signal, _words(str(values.get("reason", "released"))), now)
        return draft.written

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _call(self, side: Side, signal: Signal, values: Mapping[str, object], now: float) -> Call | None:
        """The call that a message belongs to. None: none that is known. Raises Refused."""
        caller = side.other if signal.is_from_callee else side
        key = signal.reference, caller
        call = self._known.get(key)
        if call is not None and call.ending is not None:
            call = None
        if signal.kind != Kind.SETUP or signal.is_from_callee or values.get("body") != "setup":
            return call
        # 0 is no reference of a call, but one of a hundred that Asterisk draws for its first call (HF6).
        if signal.reference is None:
            return call
        identifier = values.get("callIdentifier")
        identifier = identifier if isinstance(identifier, bytes) else bytes(16)
        if call is not None:
            if call.id == identifier and call.started_at is None:
                return call  # more digits, or the same once more
            call.end("replaced", now)
        self._may_begin(side, identifier, now)
        call = self._known[key] = Call(self._book, self._session, caller, identifier, now)
        self.calls[call.number] = call
        call.caller = _name(values.get("caller"))
        call.callee = _name(values.get("callee"))
        return call

    def _may_begin(self, side: Side, identifier: bytes, now: float) -> None:
        """Whether there can be a further call. Raises Refused."""
        peers, options = self._session.peers, self._session.options
        if self._session.names.is_between_families:
            self._session.violates("h323.family", "the two hosts have addresses of different versions", "refused")
            raise Refused(identifier)
        if self._book.setups.count(as_client(peers.own(side).host), now) > options.rate:
            self._session.violates("h323.rate", f"more than {options.rate} Setups a second", "refused")
            raise Refused(identifier)
        if len(self._book.calls) >= options.max_calls:
            self._session.violates("h323.too_many_calls", f"{len(self._book.calls)} calls", "refused")
            raise Refused(identifier)
        under_way = sum(call.ending is None for call in self.calls.values())
        if under_way >= MAX_CALLS:
            self._session.violates("h323.connection_full", f"{under_way} calls on this connection", "refused")
            raise Refused(identifier)

    def _released(self, side: Side, signal: Signal, reason: str, now: float) -> None:
        call = self._known.get((signal.reference, side.other if signal.is_from_callee else side))
        if call is not None:
            call.end(reason, now)

    def tidy(self) -> None:
        """Forget calls that are over."""
        left = [call for call in self.calls.values() if call.ending is not None and len(call.ways)]
        for call in left[:-MAX_LEFT]:
            call.ways.close_forwarded()
        over = [number for number, call in self.calls.items() if call.ending is not None and not call.is_needed]
        for number in over:
            del self.calls[number]
        if over:
            self._known = {key: call for key, call in self._known.items() if call.number in self.calls}

    # -- addresses -----------------------------------------------------------------------------------------------------

    def _written(self, side: Side, call: Call | None, found: list[Found], draft: Draft, now: float) -> None:
        """Follow what a message says, and put into the draft what the other side is to read."""
        proposals, base, trigger = 0, draft.base, draft.trigger
        for label, start, end, value in found:
            if isinstance(value, Other):
                draft.keep(label, None, str(value))
            elif value is None and end > start:
                at = names.endpoint(draft.data[base + start : base + end])
                draft.put(base + start, at, self._address(side, call, label, at, draft, now), label)
            elif label in _NESTED and call is not None and isinstance(value, bytes):
                draft.trigger = f"{trigger}.{label}" + (f"[{proposals}]" if label == "fastStart" else "")
                proposals += label == "fastStart"
                self._nested(side, call, label, value, draft, base + start, now)
                draft.trigger = trigger

    def _address(self, side: Side, call: Call | None, label: str, at: Endpoint, draft: Draft, now: float) -> Endpoint:
        """What the other side is to read for an address."""
        match label:
            case "h245Address" if call is not None:
                where = self._session.waits_at(side, at, label, draft, is_media=False)
                if where is None:
                    return at
                trigger = f"{draft.trigger}.{label}"
                listen = call.ways.h245(side, where, trigger, call.number, call.controls > 0, now)
                if listen is None:
                    draft.keep(label, at, "not_opened")
                return listen or at
            case "sourceCallSignalAddress":
                return self._session.names.signals_from(side, at)
            case "alternativeAddress" | "h245Address":
                return at  # the one is mapped when its reason is known, the other one is of no call
        return self._session.names.known_as(side, at)

    def _nested(self, side: Side, call: Call, label: str, data: bytes, draft: Draft, base: int, now: float) -> None:
        """H.245 within a message. What cannot be read of it passes, and does not spoil the rest (HF15)."""
        try:
            if label == "fastStart":
                call.facts["fast_start"] = True
                call.channels.proposals(side, data, draft, base, side is not call.caller_side)
            else:
                call.facts["tunnelled"] = True
                call.channels.messages(side, data, draft, base, now)
        except Malformed as error:
            self._session.violates("h323.malformed", f"{draft.trigger}: {error}", "passed")
        except TooMany as error:
            detail = f"{draft.trigger}: channel {error.number}"
            self._session.violates("h323.too_many_channels", detail, "passed; its media is not followed")

    # -- what else is said ---------------------------------------------------------------------------------------------

    def _facility(
        self, side: Side, call: Call, values: Mapping[str, object], found: list[Found], draft: Draft, now: float
    ) -> None:
        """A party sends the other one elsewhere. To the port of H.323 that one begins a session of its own (HF60)."""
        reason = str(values.get("reason"))
        target = next((one for one in found if one[0] == "alternativeAddress" and one[3] is None), None)
        if target is None:
            return
        start = target[1] + draft.base
        at = names.endpoint(draft.data[start : start + target[2] - target[1]])
        after = self._session.names.signals_at(side, at)
        if reason in _FORWARDS:
            facts = {"call_id": call.name, "to": at, "alias": values.get("alternativeAlias"), "reason": reason}
            self._session.note("call.forwarded", facts)
            if at.port != PORT:
                after = self._forwarded(side, call, at, draft, now) or after
        draft.put(start, at, after, "alternativeAddress")

    def _forwarded(self, side: Side, call: Call, at: Endpoint, draft: Draft, now: float) -> Endpoint | None:
        """Where the one who is sent on finds that address, if it may be sent there. Never to a host of its own side."""
        peers = self._session.peers
        sent = {peers.own(side.other).host, peers.as_seen(side.other).host}
        is_named = any(at.host in network for network in self._session.options.forward_to)
        if not is_named or at.host in sent or at.port < LEAST_PORT:
            self._session.violates("h323.forward_elsewhere", f"{draft.trigger}: {at}", "not opened")
            return None
        return call.ways.forwarded(side, at, f"{draft.trigger}.alternativeAddress", now)

    def _tell_features(self, side: Side, found: list[Found], values: Mapping[str, object]) -> None:
        """Tell the log once of what this gateway cannot help with."""
        if "signed" in values and self._session.names.is_mapped and not self._has_told_signed:
            self._has_told_signed = True
            host = self._session.peers.own(side).host
            self._session.violates("h323.signed_message", f"{host} signs its messages with their addresses", "passed")
        features = sorted({value for label, _, _, value in found if label == "feature" and value in TRAVERSAL})
        if features and not self._has_told_features:
            self._has_told_features = True
            self._session.note("h323.traversal", {"features": features})


def _name(value: object) -> str:
    return value[:MAX_ALIAS] if isinstance(value, str) else ""


def _words(name: str) -> str:
    """A name of ASN.1 as the log writes words: `undefined_reason`."""
    return re.sub("([A-Z])", r"_\1", name).lower()


def _named(kind: int) -> str:
    """The name of a message, as H.225.0 writes it."""
    return _NAMES.get(kind) or f"Message{kind:02X}"


_NAMES = {kind.value: kind.name.title().replace("_", "") for kind in Kind}
