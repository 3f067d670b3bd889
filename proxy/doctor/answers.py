"""What a rule asks about a packet of which only some things are known, and the answer (pure).

There are four answers:

    NO       never                             RARELY   for few such packets: a host on a list, a rate that is exceeded
    YES      for each such packet              USUALLY  for all but a few: the opposite of RARELY
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocols.contract.addresses import Network, Transport
from proxy.config.values import PortRange
from proxy.doctor.packets import Bits, Chance, Packet
from proxy.doctor.rulesets import Addresses, Key, OneOf, Question, Test, Value


def _named(names: Iterable[Value], name: str) -> bool:
    return any(
        isinstance(item, str) and (name.startswith(item[:-1]) if item.endswith("*") else name == item) for item in names
    )


def _interface(values: Sequence[Value], name: str) -> Chance:
    if not name:
        # Only a loopback interface is surely another one than those of sessions.
        return Chance.NO if values and all(item == "lo" for item in values) else Chance.RARELY
    return Chance.YES if _named(values, name) else Chance.NO


def _addresses(values: Iterable[Value], networks: tuple[Network, ...], version: int) -> Chance:
    ranges = [item for item in values if isinstance(item, Addresses) and item.version == version]
    whole = (1 << (32 if version == 4 else 128)) - 1
    if not networks:
        if any(item.first == 0 and item.last == whole for item in ranges):
            return Chance.YES
        return Chance.RARELY if ranges else Chance.NO
    found = []
    for network in networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        if any(item.first <= first and last <= item.last for item in ranges):
            found.append(Chance.YES)
        elif any(item.first <= last and first <= item.last for item in ranges):
            found.append(Chance.RARELY)
        else:
            found.append(Chance.NO)
    return found[0] if len(set(found)) == 1 else Chance.RARELY


def _ports(values: Iterable[Value], ports: tuple[PortRange, ...]) -> Chance:
    ranges = [item for item in values if isinstance(item, PortRange)]
    asked = ports or (PortRange(1024, 65535),)
    if all(any(item.first <= port.first and port.last <= item.last for item in ranges) for port in asked):
        return Chance.YES
    if any(item.first <= port.last and port.first <= item.last for item in ranges for port in asked):
        return Chance.RARELY
    return Chance.NO


def _mark(values: Iterable[Value], mask: int, mark: Bits) -> Chance:
    known, value = mark.known & mask, mark.value & mask & mark.known
    found = Chance.NO
    for item in values:
        if not isinstance(item, tuple):
            continue
        first, last = item
        if not mask & ~mark.known:
            if first <= value <= last:
                return Chance.YES
        elif first != last or (first & known) == value:
            found = Chance.RARELY
    return found


def _words(values: Iterable[Value], word: str) -> Chance:
    return Chance.YES if word in values else Chance.NO


def _flags(values: Iterable[Value], packet: Packet) -> Chance:
    """How often such a packet has these flags. `values` are MASK/FLAGS; the mask may be `any` (one of the flags) or
    `all` (these and no other)."""
    if packet.transport is not Transport.TCP:
        return Chance.NO
    # Connection tracking has no place for the second of two legs with the same addresses. That leg begins with a SYN,
    # too.
    shown = {"ack"} if packet.state == "established" else {"syn"}
    for item in values:
        mask, _, flags = str(item).partition("/")
        wanted = set(flags.split(",")) - {"", "none"}
        if mask == "any":
            fits = bool(shown & wanted)
        else:
            fits = (shown if mask == "all" else shown & set(mask.split(","))) == wanted
        if fits:
            return Chance.YES
    # A few segments of each session have other flags.
    return Chance.RARELY


def _answer(test: Test, packet: Packet) -> Chance:
    """The answer to the test, as if the test were not negated."""
    values = test.values
    match test.key:
        case Key.IN:
            return _interface(values, packet.interface)
        case Key.OUT:
            return _interface(values, packet.out)
        case Key.FAMILY:
            return _words(values, "ip" if packet.version == 4 else "ip6")
        case Key.PROTOCOL:
            return _words(values, packet.transport.value)
        case Key.SOURCE:
            return _addresses(values, packet.sources, packet.version)
        case Key.DESTINATION:
            return _addresses(values, packet.destinations, packet.version)
        case Key.SOURCE_PORT:
            return _ports(values, packet.source_ports)
        case Key.DESTINATION_PORT:
            return _ports(values, packet.destination_ports)
        case Key.STATE:
            return _words(values, packet.state)
        case Key.MARK:
            return _mark(values, test.mask, packet.mark)
        case Key.SOURCE_TYPE:
            return _words(values, "local" if packet.source_is_ours else "unicast")
        case Key.DESTINATION_TYPE:
            return _words(values, "local" if packet.destination_is_ours else "unicast")
        case Key.WAY_BACK:
            return Chance.USUALLY
        case Key.TRANSPARENT:
            return Chance.YES if packet.is_transparent else Chance.NO
        case Key.WILDCARD:
            return Chance.NO
        case Key.HANDSHAKE:
            return _flags(values, packet)
        case Key.OWNER:
            return _words(values, packet.owner) if packet.owner else Chance.NO
        case Key.CAST:
            return _words(values, "unicast")
        case Key.WITHIN_RATE:
            return Chance.USUALLY
        case Key.CONNECTION_MARK | Key.OTHER:
            return Chance.RARELY


def chance(question: Question, packet: Packet) -> Chance:
    """How often such a packet fits the question."""
    match question:
        case Test():
            found = _answer(question, packet)
        case OneOf():
            found = max((all_of(parts, packet) for parts in question.alternatives), default=Chance.NO)
    return found.opposite() if question.negated else found


def all_of(questions: Iterable[Question], packet: Packet) -> Chance:
    """How often such a packet fits all the questions."""
    return min((chance(question, packet) for question in questions), default=Chance.YES)
