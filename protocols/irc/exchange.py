"""What users say to each other about files and chats: whose offer opens something, and whose words are changed.

    from the client   an offer             -> checked, opened, announced as others must dial it (IR13, IR20, IR24)
                      ACCEPT               -> its own port becomes the announced one (IR15)
    from the server   RESUME of a stranger -> the announced port becomes the client's own (IR15)
                      the client's words   -> become again what the client has said (IR16)
                      a stranger's offer   -> told to the log; opened if an option says so (IR17)

Whatever is refused passes as it came: the users may have another way to each other, and are no enemies of each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from protocols.contract.addresses import LEAST_PORT, Host, Peers, Side
from protocols.contract.effects import Note, Outbox, violation
from protocols.irc import dcc
from protocols.irc.dcc import CHATTING, RESUMING, SENDING, Dcc, Offer
from protocols.irc.options import IrcOptions
from protocols.irc.ways import MAX_WAITING_OF_CLIENT, Direction, Way, Ways
from protocols.irc.wire import MAX_BODY_BYTES, Message, is_one_nick, is_same_nick
from protocols.toolbox.spans import Span, replace

CLIENT = Side.CLIENT
LONGEST_PORT = 65535

Changes = Iterable[tuple[Span, bytes]]


class Exchange:
    """The dealings of one client with other users. The engine owns it, and feeds it messages that begin with \\x01."""

    __slots__ = ("_options", "_out", "_own", "_peers", "ways")

    def __init__(self, peers: Peers, options: IrcOptions, ways: Ways, out: Outbox) -> None:
        self._peers = peers
        self._options = options
        self._out = out
        self.ways = ways
        self._own: Collection[Host] = (peers.client.host, peers.client_as_seen.host)
        """The addresses that are the client's (IR11)."""

    # -- from the client -------------------------------------------------------------------------------------------

    def from_client(self, line: bytes, message: Message, is_registered: bool) -> bytes:
        """The line as it goes on."""
        said = None if message.text is None else dcc.read(line, message.text)
        if said is None:
            return line
        if said.type in RESUMING:
            return self._accepts(line, said) if said.type == "ACCEPT" else line
        if said.type not in SENDING | CHATTING:
            return line
        offer = self._read(line, said)
        if offer is None:
            self._violation("irc.bad_dcc", f"DCC {said.type} that cannot be read")
            return line
        facts = _facts("out", said, offer, message.param(0))
        if not offer.port:  # a passive offer: whoever takes it up says where to come (IR10)
            self._tell(facts, "passed")
            return self._hidden(line, offer) if self._options.hide else line
        if why := self._why_not(line, said, offer, message, is_registered):
            rule, detail = why
            self._tell(facts, "refused", rule)
            self._breaks(rule, said, offer, message, detail)
            return line
        words = line[slice(*offer.address)], line[slice(*offer.number)]
        way = self.ways.open_to_client(offer.port, facts, words)
        if isinstance(way, str):
            self._tell(facts, "refused", way)
            if way == "too_many":
                most = f"{self._options.max_waiting} of a session, {MAX_WAITING_OF_CLIENT} of a client"
                self._breaks(way, said, offer, message, f"as many offers wait as may: {most}")
            return line
        self._tell(facts, "opened", known_as=way.grant.listen)
        return self._announced(line, said, offer, way)

    def _why_not(
        self, line: bytes, said: Dcc, offer: Offer, message: Message, is_registered: bool
    ) -> tuple[str, str] | None:
        """The rule that an offer of the client breaks, and what is wrong. None: it breaks none."""
        if not is_registered:
            return "not_registered", "before the server has let the client in"
        if self._options.dcc == "deny":
            return "dcc_denied", "a policy opens nothing"
        if offer.host not in self._own:
            return "dcc_elsewhere", "this is not the client"
        if why := self._why_not_of_anybody(said, offer, message):
            return why
        longest = replace(line, self._changes(line, offer, LONGEST_PORT)) if self._peers.is_mapped(CLIENT) else b""
        if max(len(longest), len(line)) - message.body > MAX_BODY_BYTES:
            return "too_long", "servers would cut it"
        return None

    def _why_not_of_anybody(self, said: Dcc, offer: Offer, message: Message) -> tuple[str, str] | None:
        """The same of any offer, the client's or a stranger's."""
        options = self._options
        is_chat = said.type in CHATTING
        if ("chat" if is_chat else "send") not in options.types:
            return "type_denied", f"a policy opens nothing for {'chats' if is_chat else 'files'}"
        if not is_one_nick(message.param(0)) and options.channel_offers == "ignore":
            return "channel_offer", "not to one user"
        if offer.port < LEAST_PORT:
            return "low_port", f"below {LEAST_PORT}"
        if offer.port in options.deny_ports:
            return "denied_port", "a port of services"
        return None

    def _announced(self, line: bytes, said: Dcc, offer: Offer, way: Way) -> bytes:
        """The offer with the address and the port by which others know the client."""
        if not self._peers.is_mapped(CLIENT):
            return line
        known_as = way.grant.listen
        self._rewritten(f"DCC {said.type}", str(offer.at()), str(known_as))
        return replace(line, self._changes(line, offer, known_as.port))

    def _changes(self, line: bytes, offer: Offer, port: int) -> Changes:
        address = dcc.written(self._peers.client_as_seen.host, line[slice(*offer.address)])
        return (offer.address, address), (offer.number, b"%d" % port)

    def _accepts(self, line: bytes, said: Dcc) -> bytes:
        for resume in dcc.resumes(line, said):
            if (way := self.ways.offered(resume.port)) is not None:
                return self._with_port(line, said, resume.number, way.key[1].port, way.grant.listen.port)
        return line

    def _hidden(self, line: bytes, offer: Offer) -> bytes:
        """A passive offer that does not name an inside address."""
        if offer.host != self._peers.client.host or not self._peers.is_mapped(CLIENT):
            return line
        address = dcc.written(self._peers.client_as_seen.host, line[slice(*offer.address)])
        return replace(line, ((offer.address, address),))

    def notice(self, line: bytes, message: Message) -> bytes:
        """A notice of the client's, which people read: `DCC Send file (10.1.0.2)` (IR12)."""
        text = message.text
        if text is None or not self._options.hide or not self._peers.is_mapped(CLIENT):
            return line
        if line[text.start : text.start + 4].upper() != b"DCC ":
            return line
        own, known_as = (f"({host})".encode() for host in (self._peers.client.host, self._peers.client_as_seen.host))
        changed = line[: text.start] + line[text.start :].replace(own, known_as)
        return changed if len(changed) - message.body <= MAX_BODY_BYTES else line

    # -- from the server -------------------------------------------------------------------------------------------

    def from_server(self, line: bytes, message: Message, nick: bytes) -> bytes:
        """The line as it goes on. `nick` is the client's."""
        said = None if message.text is None else dcc.read(line, message.text)
        if said is None or len(line) - message.body > MAX_BODY_BYTES:
            return line
        if is_same_nick(message.nick, nick):
            return self._heard_again(line, said)
        if said.type == "RESUME":
            for resume in dcc.resumes(line, said):
                if (way := self.ways.announced(resume.port)) is not None:
                    return self._with_port(line, said, resume.number, resume.port, way.key[1].port)
        elif said.type in SENDING | CHATTING and (offer := self._read(line, said)) is not None:
            self._offered(said, offer, message)
        return line

    def _offered(self, said: Dcc, offer: Offer, message: Message) -> None:
        """A stranger offers something to the client, which will dial out to take it up."""
        options = self._options
        facts = _facts("in", said, offer, message.nick)
        if not offer.port or options.inbound == "ignore" or options.dcc == "deny":
            self._tell(facts, "passed")
            return
        why = self._why_not_of_anybody(said, offer, message)
        way = self.ways.open_to_stranger(offer.at(), facts) if why is None else why[0]
        if isinstance(way, str):
            self._tell(facts, "refused", way)
        else:
            self._tell(facts, "opened", known_as=way.grant.listen)

    def _heard_again(self, line: bytes, said: Dcc) -> bytes:
        """What the client has said itself comes back to it (echo-message, bouncers), in its own words (X7)."""
        if said.type == "ACCEPT":
            for resume in dcc.resumes(line, said):
                if (way := self.ways.announced(resume.port)) is not None:
                    return self._with_port(line, said, resume.number, resume.port, way.key[1].port)
        elif said.type in SENDING | CHATTING:
            for offer in dcc.offers(line, said):
                way = self.ways.announced(offer.port)
                if way is not None and offer.host == way.grant.listen.host:
                    return replace(line, zip((offer.address, offer.number), way.said, strict=True))
        return line

    # -- both ------------------------------------------------------------------------------------------------------

    def _read(self, line: bytes, said: Dcc) -> Offer | None:
        """The offer. Of several ways to read it, the one that names the client counts."""
        readings = list(dcc.offers(line, said))
        first = readings[0] if readings else None
        return next((offer for offer in readings if offer.host in self._own), first)

    def _with_port(self, line: bytes, said: Dcc, at: Span, before: int, after: int) -> bytes:
        if before == after:
            return line
        self._rewritten(f"DCC {said.type}", str(before), str(after), "port")
        return replace(line, ((at, b"%d" % after),))

    def _rewritten(self, message: str, before: str, after: str, field: str = "address") -> None:
        change = {"field": field, "before": before, "after": after}
        self._out.add(Note("address.rewritten", {"message": message, "changes": [change]}))

    def _tell(self, facts: dict[str, Any], result: str, reason: str | None = None, **more: Any) -> None:
        why = {} if reason is None else {"reason": reason}
        self._out.add(Note("irc.dcc", {**facts, "result": result, **why, **more}))

    def _breaks(self, rule: str, said: Dcc, offer: Offer, message: Message, why: str) -> None:
        """An offer of the client breaks a rule. `pinhole explain` finds it by the address in it."""
        to = message.param(0).decode("latin-1")
        self._violation(f"irc.{rule}", f"DCC {said.type} of {offer.at()} to {to!r}: {why}")

    def _violation(self, rule: str, detail: str) -> None:
        self._out.add(violation(rule, detail, "passed, nothing opened"))


def _facts(direction: Direction, said: Dcc, offer: Offer, nick: bytes) -> dict[str, Any]:
    """What the log says of an offer."""
    facts = {"direction": direction, "type": said.type, "nick": nick, "at": offer.at()}
    facts |= {"file": offer.name} if said.type in SENDING else {}
    more = {"size": offer.size, "token": offer.token}
    return facts | {name: value for name, value in more.items() if value is not None}
