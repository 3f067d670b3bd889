"""PPTP: a control connection, and a tunnel of GRE for each call that both sides agree on in it.

RFC 2637. Ids in comments (PP19) are those of `protocols/FACTS.md`.

    client                      pinhole                       server
      | 7, its id ------------------> | 7, an id of ours ------> |      the place of the client stands
      | <------- 8, the server's id   | <-------- 8, both ids    |      the tunnel stands before the 8 goes on
      | <===========================> | <======================> |      GRE, with the ids exchanged
      | 12, 13, 3, or an end -------> | ...                      |      and with that the tunnel is gone

             bytes in, clocks, ends            engine.py
                 |
              calls.py                         who has which id, and what stands open
                 |
              wire.py                          how it is written

House rules:
- A tunnel stands between the two hosts of the session alone, once both have agreed on it, and not longer than their
  connection (PP14, PP19).
- A message that names a call is written in the ids of its reader. One that names a call which nobody knows goes on as
  it came, and is noted (PP20).
- Who asks for a call that cannot be had is answered by the protocol's own refusal.

Not supported: tunnels over IPv6 (PP8), and what is inside of them, which mostly is encrypted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from protocols.contract.addresses import Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Copy, Effect, Finish, Note, Outbox, violation
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import AnyGrant, Closed, MediaGrant, PinholeEvent, Pinholes
from protocols.pptp import wire
from protocols.pptp.calls import PURPOSE, Call, Calls
from protocols.pptp.options import PERMITS, PptpOptions
from protocols.pptp.wire import CALL_AT, PEERS_CALL_AT, Greeting, Kind
from protocols.toolbox.copies import with_copies
from protocols.toolbox.packets import Packets

MOST_NOTED = 8
"""How many messages about unknown calls the log is told of, in one connection."""


class PptpEngine(Engine):
    """One control connection."""

    __slots__ = (
        "_begun", "_buffers", "_calls", "_ended", "_follows", "_greeted", "_has_greeted", "_heard_at", "_is_copied",
        "_is_over", "_options", "_out", "_peers", "_unknown",
    )  # fmt: skip

    def __init__(
        self, peers: Peers, options: PptpOptions, pinholes: Pinholes, now: float, of_client: Counter[Any]
    ) -> None:
        self._peers = peers
        self._options = options
        self._calls = Calls(peers, options, pinholes, of_client)
        self._out = Outbox()
        self._buffers = {side: Packets(wire.length_of) for side in Side}
        self._begun: set[Side] = set()
        """Who has sent a message."""
        hosts = [end.host for side in Side for end in (peers.own(side), peers.as_seen(side))]
        self._follows = options.tunnel == "follow" and all(host.version == 4 for host in hosts)
        """Whether tunnels are carried."""
        self._greeted: dict[Side, Greeting] = {}
        """What the sides have said of themselves."""
        self._has_greeted = False
        """Both sides have said what they are, and the log knows it."""
        self._unknown = 0
        self._heard_at = now
        self._is_copied = self._is_over = False
        self._ended: set[Side] = set()

    # -- bytes in ------------------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """Read the messages that are whole now. A fault ends the session, and never raises an exception."""
        if self._is_over or side in self._ended:
            return ()
        self._heard_at = now
        buffer = self._buffers[side]
        buffer.push(data)
        try:
            while (message := buffer.pop()) is not None:
                wire.check(message, side not in self._begun)
                self._begun.add(side)
                if self._is_copied:
                    self._out.add(Copy(side, True, message, b""))
                self._read(side, message)
        except Malformed as fault:
            self._out.add(violation("pptp.malformed", str(fault), "closed"))
            self._end_all("malformed")
            self._out.add(Abort("malformed" if self._has_greeted else "not_pptp"))
            self._is_over = True
        self._calls.keep()
        return self._done()

    def _done(self) -> Sequence[Effect]:
        effects = self._out.take()
        return with_copies(effects) if self._is_copied else effects

    def copy(self, is_wanted: bool) -> None:
        """Return copies of messages from now on, or no more."""
        self._is_copied = is_wanted

    def _read(self, side: Side, message: bytes) -> None:
        kind = wire.kind_of(message)
        if kind in (Kind.START_REQUEST, Kind.START_REPLY):
            self._greeting(side, kind, message)
        follows = self._follows and not self._ended
        if follows and kind is not None and (read := _READERS.get(kind)) is not None:
            read(self, side, kind, message)
        else:
            self._out.send(side.other, message)

    def _greeting(self, side: Side, kind: Kind, message: bytes) -> None:
        """What the sides say of themselves, for the log."""
        said = wire.read_greeting(message)
        if kind is Kind.START_REQUEST:
            self._greeted[side] = said
        elif side.other in self._greeted and not self._has_greeted:
            self._has_greeted = True
            self._greeted[side] = said
            facts: dict[str, Any] = {}
            for one in Side:
                greeting = self._greeted[one]
                facts |= {f"{one.value}_host": greeting.host, f"{one.value}_vendor": greeting.vendor}
            self._note("pptp.control", **facts, result=said.result)
            if not self._follows:
                self._note("pptp.unfollowed", reason="option" if self._options.tunnel == "ignore" else "ipv6")

    # -- a call begins -------------------------------------------------------------------------------------------------

    def _request(self, side: Side, kind: Kind, message: bytes) -> None:
        """A side asks for a call. With an id that it has already it tries anew (PP21)."""
        number, is_incoming = wire.call_id(message), kind is Kind.INCOMING_CALL_REQUEST
        if is_incoming and self._options.incoming_calls == "deny":
            self._violation("pptp.incoming_denied", "the policy says incoming_calls: deny", "refused")
            self._out.send(side, wire.refusal(message, wire.NOT_ACCEPTED, 0))
            return
        pns = side.other if is_incoming else side
        if (before := self._calls.by_own(side, number, pns)) is not None:
            self._calls.end(before, "tried_anew")
        if self._calls.is_full():
            self._violation("pptp.too_many_calls", "the policy says how many there may be (calls)", "refused")
            self._out.send(side, wire.refusal(message, wire.GENERAL_ERROR, wire.NO_RESOURCE))
            return
        call = self._calls.ask(side, number, is_incoming, kind.name)
        if not isinstance(call, Call):
            self._note("pptp.refused", by="pinhole", result=wire.GENERAL_ERROR, error=wire.NO_RESOURCE)
            self._out.send(side, wire.refusal(message, wire.GENERAL_ERROR, wire.NO_RESOURCE))
            return
        self._out.send(side.other, wire.with_id(message, CALL_AT, call.ends[side].known))

    def _reply(self, side: Side, kind: Kind, message: bytes) -> None:
        """A side answers whoever has asked it for a call. The tunnel stands before the answer goes on (PP19)."""
        pns = side if kind is Kind.INCOMING_CALL_REPLY else side.other
        call = self._calls.by_known(side.other, wire.call_id(message, PEERS_CALL_AT), pns)
        if call is None or call.asked_by is side or call.is_up or call.cause:
            self._reply_again(side, kind, message, call)
            return
        number, outcome = wire.call_id(message), wire.outcome(message)
        asker = call.ends[side.other]
        if outcome.result != wire.CONNECTED:
            self._note("pptp.refused", by=side.value, result=outcome.result, error=outcome.error)
            self._calls.end(call, "refused")
        elif self._calls.agree(call, number, kind.name) is not None:
            self._note("pptp.refused", by="pinhole", result=wire.GENERAL_ERROR, error=wire.NO_RESOURCE)
            self._calls.end(call, "refused")
            self._out.send(side, wire.clear(asker.known) if side is not pns else wire.disconnect(asker.known))
            message = wire.refused(message)
        else:
            self._tell_call(call)
            message = wire.with_id(message, CALL_AT, call.ends[side].known)
        self._out.send(side.other, wire.with_id(message, PEERS_CALL_AT, asker.own))

    def _reply_again(self, side: Side, kind: Kind, message: bytes, call: Call | None) -> None:
        """A reply to nothing that is asked. It opens nothing."""
        if call is None or side not in call.ends or side.other not in call.ends:
            self._unknown_call(side, kind, message, wire.call_id(message, PEERS_CALL_AT))
            return
        number, end = wire.call_id(message), call.ends[side]
        if number == end.own:
            message = wire.with_id(message, CALL_AT, end.known)
        else:
            self._tell_unknown(side, kind, number)
        self._out.send(side.other, wire.with_id(message, PEERS_CALL_AT, call.ends[side.other].own))

    def _tell_call(self, call: Call) -> None:
        self._note("pptp.call", direction="incoming" if call.is_incoming else "outgoing", **_ids(call))

    # -- a call stands -------------------------------------------------------------------------------------------------

    def _of_sender(self, side: Side, kind: Kind, message: bytes) -> None:
        """A message with the id of its sender, which wishes that the call end, or says that it has (PP20)."""
        number = wire.call_id(message)
        has_ended = kind is Kind.CALL_DISCONNECT_NOTIFY
        call = self._calls.by_own(side, number, side.other if has_ended else side)
        if call is None:
            self._unknown_call(side, kind, message, number)
            return
        self._out.send(side.other, wire.with_id(message, CALL_AT, call.ends[side].known))
        if has_ended:
            self._calls.end(call, "disconnected", wire.disconnected_with(message))

    def _of_receiver(self, side: Side, kind: Kind, message: bytes) -> None:
        """A message with the id of its receiver."""
        number = wire.call_id(message)
        pns = None if kind is Kind.SET_LINK_INFO else side.other
        call = self._calls.by_known(side.other, number, pns)
        if call is None:
            self._unknown_call(side, kind, message, number)
            return
        self._out.send(side.other, wire.with_id(message, CALL_AT, call.ends[side.other].own))

    def _unknown_call(self, side: Side, kind: Kind, message: bytes, number: int) -> None:
        """Whoever reads the message knows best what to do about it (PP20)."""
        self._tell_unknown(side, kind, number)
        self._out.send(side.other, message)

    def _tell_unknown(self, side: Side, kind: Kind, number: int) -> None:
        self._unknown += 1
        if self._unknown <= MOST_NOTED:
            self._violation("pptp.unknown_call", f"{kind.name} of the {side.value} names call {number}", "passed")

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _stop(self, side: Side, kind: Kind, message: bytes) -> None:
        """A side ends the control connection, and all calls with it."""
        self._out.send(side.other, message)
        self._end_all("stopped")

    def _end_all(self, cause: str) -> None:
        for call in self._calls:
            self._calls.end(call, cause)

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """A place is gone. If no side has ended the call, both are told."""
        if not isinstance(event, Closed) or not isinstance(grant, MediaGrant):
            return ()
        call = self._calls.closed(grant)
        if call is not None and call.is_up:
            if not call.cause:
                call.cause = event.reason
                self._tell_both(call)
            self._tell_ended(call, event)
        return self._done()

    def _tell_both(self, call: Call) -> None:
        if self._is_over or self._ended:
            return
        concentrator = call.pns.other
        self._out.send(call.pns, wire.disconnect(call.ends[concentrator].known))
        self._out.send(concentrator, wire.clear(call.ends[call.pns].known))

    def _tell_ended(self, call: Call, event: Closed) -> None:
        """What has passed is counted at the place of the one who has asked: to it, and from it."""
        into, out = (event.packets_in, event.bytes_in), (event.packets_out, event.bytes_out)
        from_client, from_server = (out, into) if call.asked_by is Side.CLIENT else (into, out)
        facts: dict[str, Any] = {"cause": call.cause, **_ids(call), "duration_seconds": round(event.seconds, 6)}
        facts |= {"packets_from_client": from_client[0], "packets_from_server": from_server[0]}
        facts |= {"bytes_from_client": from_client[1], "bytes_from_server": from_server[1]}
        if call.code is not None:
            facts |= {"result": call.code.result, "error": call.code.error}
        self._note("pptp.ended", **facts)

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A side has ended, and with it all calls (PP14). Half a message goes on as it is."""
        if self._is_over or side in self._ended:
            return ()
        self._end_all("control_lost")
        self._ended.add(side)
        if rest := self._buffers[side].rest():
            self._out.send(side.other, rest)
        self._out.add(Finish(side.other))
        return self._done()

    def deadline(self) -> float | None:
        """When a connection without a tunnel is idle. Tunnels have clocks of their own."""
        return None if self._is_over or len(self._calls) else self._heard_at + self._options.idle

    def tick(self, now: float) -> Sequence[Effect]:
        if self._is_over or len(self._calls) or now < self._heard_at + self._options.idle:
            return ()
        self._is_over = True
        return (Abort("idle"),)

    def stop(self, now: float) -> Sequence[Effect]:
        self._is_over = True
        self._end_all("control_lost")
        return [effect for effect in self._out.take() if isinstance(effect, Note)]

    # -- lines of log --------------------------------------------------------------------------------------------------

    def _note(self, event: str, **facts: Any) -> None:
        self._out.add(Note(event, facts))

    def _violation(self, rule: str, detail: str, action: str) -> None:
        self._out.add(violation(rule, detail, action))


def _ids(call: Call) -> dict[str, int]:
    """The id of each side, and the one that the other side knows it by."""
    client, server = call.ends[Side.CLIENT], call.ends[Side.SERVER]
    return {
        "client_call": client.own,
        "client_known_as": client.known,
        "server_call": server.own,
        "server_known_as": server.known,
    }


_READERS: Mapping[Kind, Callable[[PptpEngine, Side, Kind, bytes], None]] = {
    Kind.STOP_REQUEST: PptpEngine._stop,
    Kind.OUTGOING_CALL_REQUEST: PptpEngine._request,
    Kind.OUTGOING_CALL_REPLY: PptpEngine._reply,
    Kind.INCOMING_CALL_REQUEST: PptpEngine._request,
    Kind.INCOMING_CALL_REPLY: PptpEngine._reply,
    Kind.INCOMING_CALL_CONNECTED: PptpEngine._of_receiver,
    Kind.CALL_CLEAR_REQUEST: PptpEngine._of_sender,
    Kind.CALL_DISCONNECT_NOTIFY: PptpEngine._of_sender,
    Kind.WAN_ERROR_NOTIFY: PptpEngine._of_receiver,
    Kind.SET_LINK_INFO: PptpEngine._of_receiver,
}
"""What is done with messages that end a connection or name a call (PP9). All others pass as they came."""


class PptpEngines:
    """Makes the engines of one daemon, which share how many calls each client has."""

    def __init__(self) -> None:
        self._of_client: Counter[Any] = Counter()

    def __call__(self, peers: Peers, options: PptpOptions, pinholes: Pinholes, now: float) -> Engine:
        return PptpEngine(peers, options, pinholes, now, self._of_client)

    def standing(self) -> Mapping[str, int]:
        """The calls that are asked for, or stand."""
        return {"calls": self._of_client.total()}


HELPER = Helper(
    name="pptp",
    summary="PPTP: control connections, and the tunnels of GRE that belong to them",
    ports=((Transport.TCP, 1723),),
    options=PptpOptions,
    permits=PERMITS,
    start=PptpEngines,
    purposes=(PURPOSE,),
    tunnels=lambda options: bool(options.tunnel == "follow"),
)
