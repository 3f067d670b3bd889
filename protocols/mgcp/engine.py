"""A session between a call agent and a media gateway: commands and responses, several of them in a datagram.

RFC 3435. Ids in comments (MG12) are those of `protocols/FACTS.md`.

    agent -> gateway    CRCX, MDCX    a place for the far end, if it is told                   control.py, media.py
    gateway -> agent    200           a place for the gateway's end; both are joined
    agent -> gateway    DLCX          250: the connection is over
    gateway -> agent    RSIP          restarted: all connections of those endpoints are over

Either host may have begun the session. Which of them is the agent is known from the first command that only agents, or
only gateways send (MG3).

House rules:
- Each message of a datagram is followed by itself; what is passed on stays one datagram, in the same order (MG7).
- A response passes only if it answers a command that has passed, and means something once (MG8).
- What is refused is answered if it is a command, and dropped if not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from protocols.contract.addresses import Malformed, Peers, Side
from protocols.contract.effects import Effect, Note, Send, violation
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, Closed, MediaGrant, PinholeEvent, Pinholes
from protocols.mgcp import wire
from protocols.mgcp.connections import ConnectionBook
from protocols.mgcp.control import Bodies, Control
from protocols.mgcp.descriptions import Refused
from protocols.mgcp.names import Names, address_of
from protocols.mgcp.options import MgcpOptions
from protocols.mgcp.transactions import Transaction, Transactions, digest
from protocols.mgcp.wire import Message
from protocols.toolbox.copies import message_copied
from protocols.toolbox.spans import Span, replace

NO_BODIES: Bodies = {}


@dataclass(frozen=True, slots=True)
class Commanding:
    """The role of a session that an agent begins from another port than the one that its gateway speaks to (MG2)."""


class Dropped(Exception):
    """A message that does not go on, and is not answered."""


class MgcpEngine(Engine):
    """One session."""

    __slots__ = (
        "_control",
        "_hosts",
        "_is_copied",
        "_names",
        "_notes",
        "_options",
        "_peers",
        "_pinholes",
        "_table",
        "_transactions",
    )

    def __init__(
        self, peers: Peers, options: MgcpOptions, pinholes: Pinholes, now: float, table: ConnectionBook
    ) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._table = table
        self._hosts = {at.host for side in Side for at in (peers.own(side), peers.as_seen(side))}
        self._names = Names(peers)
        self._transactions = Transactions()
        self._control: Control | None = None
        """None: it is not known yet which side is the agent."""
        self._is_copied = False
        self._notes: list[Effect] = []
        if isinstance(peers.role, Commanding):
            self._settle_roles(Side.CLIENT, now)

    # -- datagrams -----------------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        messages = list(wire.split(data))
        if len(messages) > wire.MAX_MESSAGES:
            self._violation("mgcp.malformed", f"{len(messages)} messages in a datagram", "dropped")
            messages = []
        passed: list[tuple[bytes, bytes]] = []
        answered: list[bytes] = []
        for text, separator in messages:
            try:
                passed.append((self._message(side, text, now), separator))
            except Refused as refused:
                answered.append(self._refusal(refused, text))
            except Dropped:
                pass
        if self._control is not None:
            self._control.gateway.heard_at = now
        effects = self._take()
        out = _joined(passed, is_whole=len(passed) == len(messages))
        effects += [Send(to, said) for to, said in ((side.other, out), (side, b".\r\n".join(answered))) if said]
        return message_copied(side, data, effects) if self._is_copied else effects

    def _refusal(self, refused: Refused, text: bytes) -> bytes:
        """The answer to a command that does not pass."""
        if refused.rule is not None:
            self._violation(refused.rule, refused.detail, f"answered {refused.code}")
        return wire.answer(refused.code, wire.number_of(text), refused.text)

    def _message(self, side: Side, text: bytes, now: float) -> bytes:
        """What one message becomes on the other side. Raises Refused, Dropped."""
        try:
            message = wire.read_message(text)
            return self._command(side, message, now) if message.is_command else self._response(side, message, now)
        except wire.NotMgcp as error:
            self._drop("mgcp.not_mgcp", str(error))
        except Malformed as error:
            if wire.number_of(text):
                raise Refused(510, "Protocol Error", "mgcp.malformed", str(error)) from None
            self._drop("mgcp.malformed", str(error))

    # -- commands ------------------------------------------------------------------------------------------------------

    def _command(self, side: Side, message: Message, now: float) -> bytes:
        self._judge_sender(side, message, now)
        key, came = (side, message.number), digest(message.data)
        before = self._transactions.get(key)
        if before is not None and before.command == came and not before.is_refused:
            self._transactions.repeated(before, now)
            return message.data if before.sent is None else before.sent
        if self._options.strict and message.verb not in wire.KNOWN:
            raise Refused(504, "Unknown Command", "mgcp.unknown", message.verb.decode("ascii"))
        endpoint = message.name if self._control is None else self._control.identity(message.name)
        about = message.id(b"C"), message.id(b"I")
        transaction = Transaction(key, message.verb, came, message.name, endpoint, *about)
        for over in self._transactions.begin(transaction, now):
            self._take_back(over, now)
        trigger = f"{message.verb.decode('ascii')} {message.number}"
        bodies = NO_BODIES
        if self._control is not None and message.verb in wire.MAKING:
            try:
                bodies = self._control.command(message, transaction, trigger, now)
            except (Refused, Malformed):
                self._transactions.forget(key)
                self._take_back(transaction, now)
                raise
        self._heed(side, message, transaction, now)
        sent = self._rewritten(side, message, trigger, bodies)
        if sent != message.data:
            self._transactions.sent(transaction, sent)
        return sent

    def _judge_sender(self, side: Side, message: Message, now: float) -> None:
        """Whether this side may send such a command. Raises Dropped."""
        agent = self._agent_by(side, message.verb)
        control = self._control
        if agent is not None and (control is None or (control.agent is not agent and not self._is_settled)):
            # Whoever forges the first datagram of a session does not turn it round for good.
            control = self._settle_roles(agent, now)
        if control is not None and agent not in (None, control.agent):
            verb, who = message.verb.decode("ascii"), "agent" if side is control.agent else "gateway"
            self._drop("mgcp.agent", f"{verb} from the {who}")
        may_be = self._options.call_agents
        if may_be and (control is None or not self._is_named(control.agent)):
            is_none = "neither is" if control is None else f"{self._peers.own(control.agent).host} is not"
            self._drop("mgcp.agent", f"{is_none} one of call_agents")
        if control is not None and side is not control.agent:
            rate = self._options.rate
            if self._table.count(self._peers.own(side).host, now) > rate:
                self._drop("mgcp.rate", f"more than {rate} commands a second")

    def _agent_by(self, side: Side, verb: bytes) -> Side | None:
        """Which side is the agent when this side sends such a command. None: it does not tell."""
        if verb in wire.FROM_AGENT:
            return side
        if verb in wire.FROM_GATEWAY:
            return side.other
        if self._control is not None:
            return None
        # Both delete connections. The one whose connections are known is the gateway, or else the one who is no agent.
        known = [each for each in Side if self._peers.own(each.other) in self._table.gateways]
        named = [each for each in Side if self._is_named(each)]
        return next((found[0] for found in (known, named) if len(found) == 1), None)

    def _is_named(self, side: Side) -> bool:
        """Whether options name the host on this side as an agent."""
        host = self._peers.own(side).host
        return any(host in network for network in self._options.call_agents)

    @property
    def _is_settled(self) -> bool:
        """Whether it is known for good which side is the agent: the two have agreed on something, or a gateway's own
        session has let this one in beside it."""
        return isinstance(self._peers.role, Commanding) or (self._control is not None and self._control.is_known)

    def _settle_roles(self, agent: Side, now: float) -> Control:
        """From now on this side is taken for the agent."""
        if self._control is not None:
            for transaction in self._transactions.all():
                self._take_back(transaction, now)
            self._control.stop(now)
        self._control = Control(self._peers, agent, self._options, self._pinholes, self._table, self._note)
        return self._control

    def _heed(self, side: Side, message: Message, transaction: Transaction, now: float) -> None:
        """What a command means whatever its response will be."""
        control = self._control
        if control is None:
            return
        if side is control.agent:
            entity = message.first(b"N")
            at = address_of(entity)
            if at is not None and at not in self._hosts:  # the gateway speaks to that one in a session of its own
                self._note("mgcp.redirected", {"endpoint": message.name, "entity": entity})
        elif message.verb == b"RSIP":
            control.restarted(message, transaction, now)
        elif message.verb == b"DLCX":
            control.deleted_by_gateway(message, transaction, now)
        elif message.verb == b"NTFY" and self._options.digits:
            self._note("mgcp.notified", {"endpoint": message.name, "events": message.first(b"O")})

    # -- responses -----------------------------------------------------------------------------------------------------

    def _response(self, side: Side, message: Message, now: float) -> bytes:
        if not message.code:  # the acknowledgement of a response goes the way of its command, and means nothing (MG6)
            return message.data
        transaction = self._transactions.get((side.other, message.number))
        if transaction is None or message.code < 100:
            self._drop("mgcp.unasked", f"{message.code:03} {message.number} answers nothing")
        came = digest(message.data)
        if came in transaction.answers:
            return transaction.answers[came] or message.data
        if not transaction.is_awaited:
            self._drop("mgcp.unasked", f"another {message.code} {message.number}")
        trigger = f"{message.code} {transaction.verb.decode('ascii')} {message.number}"
        bodies, control = NO_BODIES, self._control
        if control is not None and message.code < 300:
            bodies = control.agreed(message, transaction, trigger, now)
        elif control is not None:
            control.declined(message, transaction, now)
        sent = self._rewritten(side, message, trigger, bodies)
        as_it_came = sent == message.data
        self._transactions.answered(transaction, came, None if as_it_came else sent, message.code >= 200, now)
        return sent

    def _take_back(self, transaction: Transaction, now: float) -> None:
        if self._control is not None:
            self._control.take_back(transaction, now)

    def _rewritten(self, side: Side, message: Message, trigger: str, bodies: Bodies) -> bytes:
        """The message as the other side is to read it."""
        told: list[dict[str, Any]] = []
        edits: list[tuple[Span, bytes]] = []
        for one in self._names.renamed(side, message) if self._options.names == "auto" else ():
            edits.append((one.span, one.after))
            told.append({"field": one.field, "before": one.before, "after": one.after})
        for span, followed in bodies.items():
            if followed.body != message.data[span.start : span.end]:
                edits.append((span, followed.body))
                told += followed.told
        if not edits:
            return message.data
        self._note("address.rewritten", {"message": trigger, "changes": told})
        return replace(message.data, sorted(edits))

    # -- what lasts ----------------------------------------------------------------------------------------------------

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        if self._control is not None and isinstance(grant, MediaGrant):
            if isinstance(event, Closed):
                self._control.closed(grant, event, now)
            else:
                self._control.used(grant)
        return self._take()

    def is_needed(self) -> bool:
        return self._control is not None and (self._control.is_known or self._control.has_connections)

    def deadline(self) -> float | None:
        transactions = self._transactions.next()
        if self._control is None or not self._control.is_waiting:
            return transactions
        silence = self._control.gateway.heard_at + self._options.idle
        return silence if transactions is None else min(silence, transactions)

    def tick(self, now: float) -> Sequence[Effect]:
        for transaction in self._transactions.due(now):
            self._take_back(transaction, now)
        if self._control is not None and self._control.gateway.heard_at + self._options.idle <= now:
            self._control.end_all("idle", now)
        return self._take()

    def stop(self, now: float) -> Sequence[Effect]:
        for transaction in self._transactions.all():
            self._take_back(transaction, now)
        if self._control is not None:
            self._control.stop(now)
            self._control = None
        return self._take()

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted

    # -- notes ---------------------------------------------------------------------------------------------------------

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        self._notes.append(Note(event, facts))

    def _drop(self, rule: str, detail: str) -> NoReturn:
        """Let a message go no further. Raises Dropped."""
        self._violation(rule, detail, "dropped")
        raise Dropped

    def _violation(self, rule: str, detail: str, action: str) -> None:
        self._notes.append(violation(rule, detail, action))

    def _take(self) -> list[Effect]:
        notes, self._notes = self._notes, []
        return notes


def _joined(parts: list[tuple[bytes, bytes]], is_whole: bool) -> bytes:
    """The messages that pass, as one datagram. Unless it is whole, nothing may stand behind the last separator."""
    joined = b"".join(text + separator for text, separator in parts)
    return joined if is_whole or not parts else joined.removesuffix(parts[-1][1])
