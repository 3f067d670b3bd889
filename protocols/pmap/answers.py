"""Answers of a portmapper: what each opens, and the same answer with the addresses that its client can reach.

    opened     the client reads where the pinhole stands: without NAT of the server the very bytes that came
    refused    the client reads that the program is not registered, and gives up at once (PM26)
    let be     what is none of our business (another host or family, a low port): the bytes that came, nothing opened

Each service that an answer names is one of these three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Malformed, Peers, Side
from protocols.contract.effects import Effect, Note, violation
from protocols.contract.pinholes import Refusal
from protocols.pmap.lookups import Found, Question, read_address, read_addresses, read_dump, read_port, universal
from protocols.pmap.options import PmapOptions
from protocols.pmap.programs import Procedure, name_of
from protocols.pmap.services import Ways
from protocols.pmap.wire import Caller, number, text
from protocols.toolbox.services import TOO_MANY
from protocols.toolbox.spans import Span, replace

NEVER = frozenset({512, 513, 514, 515, 543, 544, 631, 636, 873, 989, 990, 992, 993, 995})
"""Ports of other services among those that services of RPC take (PM24)."""

MAX_TOLD = 16
"""Of how many addresses that were rewritten in one list the log is told."""

NOT_REGISTERED = number(0)
"""As a port, as a text and as a list: nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A lookup, or a DUMP, that has been answered."""

    procedure: Procedure
    version: int
    """Of the portmapper's protocol."""
    question: Question | None
    """None: DUMP, which asks for everything."""
    by: Caller | None


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes that stand in the place of others."""

    span: Span
    new: bytes
    told: Mapping[str, Any] | None = None
    """The addresses, for the log. None: what stood there is left out."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the client is told of one service."""

    at: Endpoint | None
    """Where it is. None: it is not registered."""
    pinhole: Endpoint | None = None
    """Where a pinhole stands for it."""


class Answers:
    """Reads the answers of one session."""

    __slots__ = ("_note", "_options", "_peers", "_ways")

    def __init__(self, peers: Peers, options: PmapOptions, ways: Ways, note: Callable[[Effect], None]) -> None:
        """note: takes lines of the log."""
        self._peers = peers
        self._options = options
        self._ways = ways
        self._note = note

    def changed(self, asked: Asked, answer: bytes, results: int, is_repeated: bool) -> bytes:
        """The answer as the client is to read it: `answer` itself if nothing changes. `results` is where its results
        begin. An answer that comes again opens nothing more, and the log has told of it. Raises Malformed."""
        question = asked.question
        if question is None:
            changes = self._dump(asked, answer, results, is_repeated)
            return self._rewritten(asked, answer, changes, is_repeated)
        if asked.procedure is Procedure.GETADDRLIST:
            found = read_addresses(question, answer, results)
        elif asked.procedure is Procedure.GETPORT:
            found = [read_port(question, answer, results, self._peers.server)]
        else:
            found = [read_address(question, answer, results)]
        is_list = asked.procedure is Procedure.GETADDRLIST
        changes = [self._looked_up(asked, one, is_list, is_repeated) for one in found]
        return self._rewritten(asked, answer, changes, is_repeated)

    def _rewritten(self, asked: Asked, answer: bytes, changes: Iterable[Change | None], is_repeated: bool) -> bytes:
        """The answer with these changes, of which the log is told once."""
        made = [change for change in changes if change is not None]
        told = [change.told for change in made if change.told]
        if told and not is_repeated:
            facts = {"message": asked.procedure.value, "changes": told[:MAX_TOLD]}
            self._note(Note("address.rewritten", facts))
        return replace(answer, [(change.span, change.new) for change in made])

    def _looked_up(self, asked: Asked, found: Found, is_list: bool, is_repeated: bool) -> Change | None:
        """Open what was found. Returns what is to be changed."""
        told = self._open(asked.procedure, found)
        if not is_repeated:
            self._tell(asked, found, told)
        if told.at is None and found.at is not None:
            return Change(found.entry, b"") if is_list else Change(found.span, NOT_REGISTERED)
        return _at(found, told.at)

    def _tell(self, asked: Asked, found: Found, told: Told) -> None:
        facts: dict[str, Any] = {
            "procedure": asked.procedure.value,
            "program": found.program,
            "name": name_of(found.program),
            "version": found.version,
            "protocol": found.netid,
            "at": None if found.at is None else self._target(found.at),
            "known_as": told.pinhole,
        }
        if asked.by is not None:
            facts |= {"claimed_machine": asked.by.machine, "claimed_uid": asked.by.uid}
        self._note(Note("pmap.lookup", facts))

    # -- one service ---------------------------------------------------------------------------------------------------

    def _open(self, procedure: Procedure, found: Found) -> Told:
        """Open a service where it was found, unless that is no place for one."""
        at, transport = found.at, found.transport
        if at is None or transport is None:
            return Told(at)
        if self._is_portmapper(at):
            return Told(self._outside(at, self._peers.server_as_seen))
        if (why := self._let_be(at)) is not None:
            self._breaks(*why, found.program, at, "passed, nothing opened")
            return Told(at)
        trigger = f"{procedure.value} {name_of(found.program)} v{found.version} {found.netid.decode('ascii')}"
        listen = self._ways.open(transport, self._target(at), trigger)
        if isinstance(listen, Refusal):
            if listen is TOO_MANY:
                detail = f"the client has {self._options.max_services} others open"
                self._breaks("pmap.too_many", detail, found.program, at, "answered as not registered")
            return Told(None)
        return Told(self._outside(at, listen), listen)

    def _breaks(self, rule: str, detail: str, program: int, at: Endpoint, action: str) -> None:
        """A service breaks a rule. `pinhole explain` finds it by the address in it."""
        self._note(violation(rule, f"{name_of(program)} at {at}: {detail}", action))

    def _let_be(self, at: Endpoint) -> tuple[str, str] | None:
        """Why a service at this address is none of our business: a rule, and what for people. None: it is."""
        host, server = at.host, self._peers.server.host
        if host.version != server.version:
            return "pmap.other_family", f"IPv{host.version} for a server that was asked over IPv{server.version}"
        if not self._is_servers(host) and not any(host in network for network in self._options.service_hosts):
            return "pmap.elsewhere", "another host"
        if at.port < self._options.min_port:
            return "pmap.low_port", f"below {self._options.min_port}"
        if at.port in NEVER:
            return "pmap.denied_port", "a port of another service"
        return None

    def _is_servers(self, host: Host) -> bool:
        """Whether this is the server itself, by whichever of its names (PM23)."""
        peers = self._peers
        return host.is_unspecified or host in (peers.server.host, peers.server_as_seen.host)

    def _is_portmapper(self, at: Endpoint) -> bool:
        """Whether this is where the client has asked (PM24)."""
        return at.port == self._peers.server.port and self._is_servers(at.host)

    def _target(self, at: Endpoint) -> Endpoint:
        """The same by the server's own address."""
        return Endpoint(self._peers.server.host, at.port) if self._is_servers(at.host) else at

    def _outside(self, at: Endpoint, known_as: Endpoint) -> Endpoint:
        """Where the client is sent. The zero address stands for the server, and stays (PM33)."""
        return Endpoint(at.host, known_as.port) if at.host.is_unspecified else known_as

    # -- all of them ---------------------------------------------------------------------------------------------------

    def _dump(self, asked: Asked, answer: bytes, results: int, is_repeated: bool) -> list[Change | None]:
        """What is to be changed of the list of all services. It opens none: that would be a pinhole for each (PM34)."""
        is_read = self._options.dump == "hide" or self._peers.is_mapped(Side.SERVER)
        listed: list[Found] | None
        try:
            listed = read_dump(asked.version, answer, results, self._peers.server)
        except Malformed:
            if is_read:
                raise
            listed = None  # nothing in it would be changed
        if not is_repeated:
            self._note(
                Note("pmap.dump", {"version": asked.version, "entries": None if listed is None else len(listed)})
            )
        return [] if listed is None or not is_read else [self._entry(found) for found in listed]

    def _entry(self, found: Found) -> Change | None:
        """What is to be changed of one entry."""
        at, transport, known_as = found.at, found.transport, None
        if at is not None and transport is not None and self._is_servers(at.host):
            portmapper = self._peers.server_as_seen
            known_as = portmapper if self._is_portmapper(at) else self._ways.find(transport, self._target(at))
        if known_as is None and self._options.dump == "hide":
            return Change(found.entry, b"")
        if at is None or not self._is_servers(at.host):
            return None
        # A service that is not open is not reached at that address either; but none of the server's inside goes out.
        known_as = known_as or Endpoint(self._peers.server_as_seen.host, at.port)
        return _at(found, self._outside(at, known_as))


def _at(found: Found, known_as: Endpoint | None) -> Change | None:
    """The change that names another place for what was found. None: it is the same place, or a port alone that stays
    what it is."""
    at = found.at
    if at is None or known_as is None or known_as == at or (known_as.port == at.port and not found.is_text):
        return None
    new = text(universal(known_as)) if found.is_text else number(known_as.port)
    return Change(found.span, new, {"field": "address" if found.is_text else "port", "before": at, "after": known_as})
