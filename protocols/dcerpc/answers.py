"""What answers open, and how they read for their client.

opened     the client reads where the pinhole stands: without NAT of the server the very bytes that came
refused    the client reads that the interface is not registered, and gives up at once
let be     what is none of our business (a pipe, another host, a low port): as it came, nothing opened
signed     read and opened, and never changed (DC31)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Peers, Side, Transport
from protocols.contract.effects import Effect, Note, violation
from protocols.contract.pinholes import Refusal
from protocols.dcerpc import dcom, towers
from protocols.dcerpc.dcom import Binding, Bindings
from protocols.dcerpc.endpoints import OTHER_PORT, Ways
from protocols.dcerpc.interfaces import name_of
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.towers import Place, Question, Tower
from protocols.dcerpc.wire import Order, Uuid, uuid_text
from protocols.toolbox.services import TOO_MANY
from protocols.toolbox.spans import Span, replace

MAX_TOLD = 16
"""Of how many addresses of one answer the log is told."""
MAX_PORTS = 8
"""How many ports the bindings of one object may have. They have one (DC27)."""
ANY = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Stub:
    """The stub of an answer, and how it is to be read."""

    octets: bytes
    order: Order
    is_wide: bool
    is_signed: bool
    """It has a trailer, so nothing in it can be changed."""


@dataclass(slots=True)
class Outcome:
    """What became of the towers of one answer."""

    changes: list[tuple[Span, bytes]]
    told: list[dict[str, Any]]
    """The addresses that change, for the log."""
    opened: int = 0
    refused: int = 0


class Answers:
    """Reads the answers of one session."""

    __slots__ = ("_listed", "_note", "_options", "_peers", "_ways")

    def __init__(self, peers: Peers, options: DcerpcOptions, ways: Ways, note: Callable[[Effect], None]) -> None:
        """note: takes lines of the log."""
        self._peers = peers
        self._options = options
        self._ways = ways
        self._note = note
        self._listed = 0
        """How many entries of a list the client has got that the log has not been told of."""

    # -- the endpoint mapper -------------------------------------------------------------------------------------------

    def mapped(self, question: Question, stub: Stub) -> bytes | None:
        """The stub of the answer to an ept_map as the client is to read it. None: it is told that the interface is not
        registered. Raises Malformed."""
        answer = towers.read_answer(stub.octets, stub.order, stub.is_wide)
        outcome = Outcome([], [])
        if not answer.towers:
            self._tell(question, question.tower, None, None)
        for tower in answer.towers:
            self._map(question, tower, stub.is_signed, outcome)
        if outcome.refused and not outcome.opened and not stub.is_signed:
            return None
        return self._changed("ept_map", stub, outcome)

    def listed(self, stub: Stub) -> bytes:
        """The same of the answer to an ept_lookup, which has a part of a list (DC19). Raises Malformed."""
        answer = towers.read_list(stub.octets, stub.order, stub.is_wide)
        self._listed += len(answer.towers)
        if answer.status:
            self.tell_list()
        outcome = Outcome([], [])
        for tower in answer.towers:
            if self._options.lookup == "open":
                self._map(None, tower, stub.is_signed, outcome)
            elif tower.place is not None and self._target(tower.place) is not None:
                self._replace(tower.place, None, outcome)
        return self._changed("ept_lookup", stub, outcome)

    def tell_list(self) -> None:
        """A list is over, or goes no further. Some clients ask for one entry at a time."""
        if self._listed:
            self._note(Note("dcerpc.lookup", {"entries": self._listed}))
            self._listed = 0

    def _map(self, question: Question | None, tower: Tower, is_signed: bool, outcome: Outcome) -> None:
        """Open what a tower names, and note what is to be changed of it."""
        place = tower.place
        if place is None:
            return
        target, known_as = self._target(place), None
        if target is None:
            self._breaks("dcerpc.elsewhere", tower, place, "another host")
        elif target == self._peers.server:
            known_as = self._peers.server_as_seen  # where the client asked is our own helper (DC20)
            outcome.opened += 1
        elif place.port < LEAST_PORT:
            self._breaks("dcerpc.low_port", tower, place, f"below {LEAST_PORT}")
        elif tower.interface is not None and not self._options.may_be_found(tower.interface):
            self._breaks("dcerpc.interface_denied", tower, place, "not what may be found")
        else:
            listen = self._open(place.transport, target, _trigger(question, tower), is_signed)
            known_as = None if isinstance(listen, Refusal) else listen
            outcome.opened += known_as is not None
            outcome.refused += known_as is None
        if target is not None:
            self._replace(place, known_as, outcome)
        if question is not None:
            self._tell(question, tower, target, known_as)

    def _open(self, transport: Transport, target: Endpoint, trigger: str, is_exact: bool) -> Endpoint | Refusal:
        """is_exact: what cannot be rewritten leads to the port that it names, or nowhere (DC39)."""
        is_exact = is_exact and self._peers.is_mapped(Side.SERVER)
        if is_exact and not self._options.same_port:
            listen: Endpoint | Refusal = OTHER_PORT
        else:
            listen = self._ways.open(transport, target, trigger, is_exact)
        if listen is OTHER_PORT:
            detail = f"{trigger} at {target}: not open under the same number"
            self._note(violation("dcerpc.other_port", detail, _LET))
        elif listen is TOO_MANY:
            self._too_many(f"{trigger} at {target}")
        return listen

    def _too_many(self, what: str) -> None:
        detail = f"{what}: the client has {self._options.max_endpoints} others open"
        self._note(violation("dcerpc.too_many", detail, "not opened"))

    def _target(self, place: Place) -> Endpoint | None:
        """Where an endpoint is. Over IPv6 there is no floor for its address, and only the port counts (DC18, DC20).
        None: at another host."""
        server = self._peers.server.host
        host = server if server.version == 6 or place.host == ANY else self._host(place.host)
        return None if host is None else Endpoint(host, place.port)

    def _host(self, named: Host) -> Host | None:
        """Which host has this address. None: another one than an endpoint may be at."""
        server = self._peers.server.host
        if self._is_servers(named):
            return server
        is_allowed = any(named in network for network in self._options.endpoint_hosts)
        return named if is_allowed and named.version == server.version else None

    def _is_servers(self, host: Host) -> bool:
        return host in (self._peers.server.host, self._peers.server_as_seen.host)

    def _replace(self, place: Place, known_as: Endpoint | None, outcome: Outcome) -> None:
        """The address of a published server becomes the one that its client knows (DC39). `known_as`: where the
        endpoint is open. None: nowhere; but none of the server's inside goes out."""
        outside = self._peers.server_as_seen.host
        if not self._peers.is_mapped(Side.SERVER):
            return
        host = outside if isinstance(outside, IPv4Address) and place.host != ANY else ANY
        port = place.port if known_as is None else known_as.port
        if (host, port) == (place.host, place.port):
            return
        outcome.changes += [(place.port_at, port.to_bytes(2, "big")), (place.host_at, host.packed)]
        before, after = Endpoint(place.host, place.port), Endpoint(host, port)
        outcome.told.append({"field": "tower", "before": before, "after": after})

    def _changed(self, message: str, stub: Stub, outcome: Outcome) -> bytes:
        """The stub with the changes; as it came, if it is signed."""
        if not outcome.changes:
            return stub.octets
        if stub.is_signed:
            named = [str(change["before"]) for change in outcome.told[:MAX_TOLD]]
            self._note(Note("dcerpc.signed_address", {"message": message, "addresses": named, **_signed(True)}))
            return stub.octets
        self._note(Note("address.rewritten", {"message": message, "changes": outcome.told[:MAX_TOLD]}))
        return replace(stub.octets, outcome.changes)

    def _tell(self, asked: Question, tower: Tower | None, at: Endpoint | None, known_as: Endpoint | None) -> None:
        interface = None if tower is None else tower.interface
        facts: dict[str, Any] = {
            "interface": None if interface is None else uuid_text(interface),
            "name": None if interface is None else name_of(interface),
            "version": "" if tower is None else tower.version,
            "at": at,
            "known_as": known_as,
        }
        if tower is not None and tower.place is not None:
            facts["transport"] = tower.place.transport.value
        if asked.object is not None:
            facts["object"] = uuid_text(asked.object)
        self._note(Note("dcerpc.map", facts))

    def _breaks(self, rule: str, tower: Tower, place: Place, why: str) -> None:
        """`pinhole explain` finds it by the address in it."""
        name = "an interface" if tower.interface is None else name_of(tower.interface)
        at = Endpoint(place.host, place.port)
        self._note(violation(rule, f"{name} at {at}: {why}", "passed, nothing opened"))

    # -- DCOM ----------------------------------------------------------------------------------------------------------

    def activated(self, stub: Stub, bindings: Bindings | None, asked_for: Uuid | None) -> None:
        """Where an object is that was activated. Such an answer is never changed (DC31)."""
        facts: dict[str, Any] = {"class_id": None if asked_for is None else uuid_text(asked_for)}
        strings = () if bindings is None else bindings.strings
        self._note(Note("dcerpc.activation", {**facts, "bindings": _told(strings), **_signed(stub.is_signed)}))
        name = "activation" if asked_for is None else f"activation {uuid_text(asked_for)}"
        if bindings is None:
            return
        is_open = self._open_all(name, strings)
        self._keeps("activation", strings, stub.is_signed)
        for port in self._options.callback_ports() if is_open else ():
            if self._ways.call_back(port) is TOO_MANY:
                self._too_many(f"callbacks from port {port} on")
                break

    def resolved(self, stub: Stub, bindings: Bindings | None, operation: str) -> tuple[Span, bytes] | None:
        """Where an object is that was asked for by its exporter, or which host this is (`alive`): what is to be changed
        (DC25)."""
        if bindings is None:
            return None
        if operation != "ServerAlive2":
            self._note(Note("dcerpc.oxid", {"bindings": _told(bindings.strings), **_signed(stub.is_signed)}))
            self._open_all("oxid", bindings.strings)
        renamed = tuple(map(self._renamed, bindings.strings))
        if renamed == bindings.strings:
            return None
        if stub.is_signed:
            self._keeps(operation, bindings.strings, True)
            return None
        changes = [
            {"field": "binding", "before": before.text, "after": after.text}
            for before, after in zip(bindings.strings, renamed, strict=True)
            if before != after
        ]
        self._note(Note("address.rewritten", {"message": operation, "changes": changes[:MAX_TOLD]}))
        return bindings.span, dcom.write_bindings(bindings, renamed, stub.order, stub.is_wide)

    def _renamed(self, binding: Binding) -> Binding:
        """A binding by the address that the client knows its server by; the port stays (DC39)."""
        if not self._peers.is_mapped(Side.SERVER) or binding.host != self._peers.server.host:
            return binding
        known_as = str(self._peers.server_as_seen.host)
        port = binding.port
        return Binding(binding.protocol, known_as if port is None else f"{known_as}[{port}]")

    def _open_all(self, name: str, strings: Iterable[Binding]) -> bool:
        """One pinhole for each port, whatever names and addresses the server has for itself (DC30); at a host of
        `endpoint_hosts`, if all addresses are of others. Returns whether there is one now."""
        is_open = False
        by_port: dict[int, list[Host | None]] = {}
        for binding in strings:
            if binding.port is not None and (binding.port in by_port or len(by_port) < MAX_PORTS):
                by_port.setdefault(binding.port, []).append(binding.host)
        server = self._peers.server.host
        for port, hosts in by_port.items():
            named = [host for host in hosts if host is not None]
            ours = [host for host in map(self._host, named) if host is not None] if named else [server]
            if not ours:
                self._note(violation("dcerpc.elsewhere", f"{name} at {named[0]}, port {port}", _LET))
                continue
            target = Endpoint(server if server in ours else ours[0], port)
            if port >= LEAST_PORT:
                is_open |= not isinstance(self._open(Transport.TCP, target, name, True), Refusal)
            elif target != self._peers.server:
                self._note(violation("dcerpc.low_port", f"{name} at {target}: below {LEAST_PORT}", _LET))
        return is_open

    def _keeps(self, message: str, strings: Iterable[Binding], is_signed: bool) -> None:
        """Say what the client of a published server will try, which leads nowhere unless its own network helps."""
        inside = [each.text for each in strings if each.host == self._peers.server.host]
        if inside and self._peers.is_mapped(Side.SERVER):
            facts = {"message": message, "addresses": inside[:MAX_TOLD], **_signed(is_signed)}
            self._note(Note("dcerpc.signed_address", facts))


_LET = "passed, nothing opened"


def _signed(is_signed: bool) -> dict[str, bool]:
    return {"signed": True} if is_signed else {}


def _told(strings: Iterable[Binding]) -> list[str]:
    return [binding.text for binding in strings][:MAX_TOLD]


def _trigger(question: Question | None, tower: Tower) -> str:
    operation = "ept_lookup" if question is None else "ept_map"
    return operation if tower.interface is None else f"{operation} {name_of(tower.interface)}"
