"""What SIP says on the two segments of a gateway, captured at once, and how the two must agree.

Without NAT they are the same, byte for byte. With NAT nothing of the network inside is told outside, and each host gets
its own addresses back as it spelled them: the programs here write one value a line, in full words.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from protocols.contract.addresses import Network
from proxy.errors import PinholeError
from tests.interop.wire import headers, written
from tools.lab import conversations, datagrams
from tools.lab.gateways import Gateway
from tools.lab.lab import LAN4, LAN6, WAN4, WAN6

ROUNDS = 20
"""Of 20 ms at least, for what is said last to be heard; where phones meet on one segment they never agree."""
Address = IPv4Address | IPv6Address

OPAQUE = frozenset((b"from", b"to", b"call-id"))
"""Identities and names of dialogs, which are nobody's to change (S80, S82)."""
_START = re.compile(rb"SIP/2\.0 \d{3} |[A-Z]+ (?:sips?|tel):")
_ADDED = re.compile(rb";(?:rport(?:=\d+)?|received=[^;]+)")


@dataclass(frozen=True, slots=True)
class Message:
    source: Address
    destination: Address
    data: bytes

    @property
    def start(self) -> bytes:
        return self.data.partition(b"\r\n")[0]

    @property
    def is_response(self) -> bool:
        return self.data.startswith(b"SIP/")

    @property
    def lines(self) -> list[tuple[bytes, bytes]]:
        """Start line, fields and lines of the body, each by its name in small letters."""
        head, _, body = self.data.partition(b"\r\n\r\n")
        found = [(b"start line", self.start)]
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            found.append((name.strip().lower(), value.strip()))
        return found + [(b"body", line) for line in body.split(b"\r\n")]

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.lines if field == name]


def messages(frames: Sequence[bytes]) -> list[Message]:
    """Those in datagrams in the order in which they passed; then those of each TCP connection."""
    found = [
        Message(one.source[0], one.destination[0], one.payload)
        for one in datagrams(frames)
        if _START.match(one.payload)
    ]
    for one in conversations(frames):
        for source, destination, stream in (
            (one.client[0], one.server[0], one.from_client),
            (one.server[0], one.client[0], one.from_server),
        ):
            found += (Message(source, destination, data) for data in _cut(stream))
    return found


def _cut(stream: bytes) -> Iterator[bytes]:
    while stream := stream.lstrip(b"\r\n"):
        head, end, rest = stream.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: *(\d+)", head, re.IGNORECASE)
        assert length, head
        size = int(length[1])
        yield head + end + rest[:size]
        stream = rest[size:]


@dataclass(slots=True)
class Legs:
    lan: list[bytes] = field(default_factory=list)
    """Frames of the segment that the gateway's lan0 is on."""
    wan: list[bytes] = field(default_factory=list)

    def are_complete(self) -> bool:
        """What has come to one segment has gone to the other, too: nothing is on its way through the gateway."""
        try:
            lan, wan = (Counter(map(_name, messages(frames))) for frames in (self.lan, self.wan))
            return lan == wan
        except (AssertionError, ValueError):  # half a message of a stream
            return False

    def are_the_same(self) -> None:
        """Each host said the same to each other on both. Datagrams of several processes, on their way on several
        processors, may come to a socket in another order than they were seen in."""
        lan, wan = (_by_ends(messages(frames)) for frames in (self.lan, self.wan))
        assert lan
        assert lan == wan

    def hide_the_inside(self, spared: Collection[bytes] = ()) -> None:
        """Nothing outside names an address inside, but for opaque fields and those spared."""
        _is_hidden((LAN4, LAN6), self.wan, spared)
        assert any(mark in message.data for message in messages(self.lan) for mark in written(LAN4) + written(LAN6))

    def hide_the_outside(self, spared: Collection[bytes] = ()) -> None:
        """The reverse."""
        _is_hidden((WAN4, WAN6), self.lan, spared)

    def give_each_its_own_back(self) -> None:
        for frames, networks in ((self.lan, (LAN4, LAN6)), (self.wan, (WAN4, WAN6))):
            said, gateway = messages(frames), {network[1] for network in networks}
            local = [
                one for one in said if any(one.source in network for network in networks) and one.source not in gateway
            ]
            # A proxy passes on what the phones beside it have told it: of those, too.
            contacts = {_uri(value) for message in local for value in message.values(b"contact")}
            for host in {message.source for message in local}:
                _gets_its_own_back(host, said, contacts)


def _is_hidden(networks: Sequence[Network], frames: Sequence[bytes], spared: Collection[bytes]) -> None:
    sent = messages(frames)
    assert sent
    assert not [host for host in headers(frames) if any(host in network for network in networks)]
    marks = [text for network in networks for text in written(network)]
    told = [
        (name, value)
        for message in sent
        for name, value in message.lines
        if name not in OPAQUE and name not in spared and any(mark in value.lower() for mark in marks)
    ]
    assert told == [], told


def _name(message: Message) -> tuple[bytes, ...]:
    """By which it is known on both segments, whatever was rewritten."""
    kind = message.start.split(b" ")[1 if message.is_response else 0]
    return (kind, *message.values(b"call-id"), *message.values(b"cseq"))


def _by_ends(said: Sequence[Message]) -> dict[tuple[Address, Address], Counter[bytes]]:
    ends: defaultdict[tuple[Address, Address], Counter[bytes]] = defaultdict(Counter)
    for message in said:
        ends[message.source, message.destination][message.data] += 1
    return ends


def _gets_its_own_back(host: Address, said: Sequence[Message], contacts: Collection[bytes]) -> None:
    sent = [message for message in said if message.source == host]
    got = [message for message in said if message.destination == host]
    routes = {value for message in sent for value in message.values(b"record-route")}
    has_registered = any(message.start.startswith(b"REGISTER ") for message in sent)
    vias = {_ADDED.sub(b"", message.values(b"via")[0]) for message in sent if not message.is_response}
    for message in got:
        if message.is_response:
            own = message.values(b"via")[0]
            assert _ADDED.sub(b"", own) in vias, message.data
            assert all(received == str(host).encode() for received in re.findall(rb";received=([^;]+)", own)), own
            if message.values(b"cseq")[0].endswith(b" REGISTER"):
                assert {_uri(value) for value in message.values(b"contact")} <= set(contacts), message.data
        else:
            uri, in_dialog = message.start.split(b" ")[1], b";tag=" in message.values(b"to")[0]
            if _names(uri, host) and (in_dialog or has_registered):
                assert uri in contacts, message.data
            # The ACK of a refusal has the routes of its INVITE, which may be of the phone's own choice.
            if in_dialog and not message.start.startswith(b"ACK "):
                assert {value for value in message.values(b"route") if _names(value, host)} <= routes, message.data


def _uri(value: bytes) -> bytes:
    """Of a Contact."""
    inside = re.search(rb"<([^>]*)>", value)
    return inside[1] if inside else value.partition(b";")[0]


def _names(uri: bytes, host: Address) -> bool:
    return (f"[{host}]" if host.version == 6 else str(host)).encode() in uri


@contextlib.contextmanager
def captured(gateway: Gateway) -> Iterator[Legs]:
    """Filled in at the end."""
    legs = Legs()
    with gateway.lab.gateway.capture("lan0") as lan, gateway.lab.gateway.capture("wan0") as wan:
        yield legs
        for _ in range(ROUNDS):
            # The daemon answers when it has read what had come to it. On a busy machine it may be kept from that for
            # longer than all these rounds take.
            with contextlib.suppress(PinholeError):
                gateway.daemon.look()
            legs.lan += lan.collect()
            legs.wan += wan.collect()
            if legs.are_complete():
                break
            time.sleep(0.02)


def agree(gateway: Gateway, legs: Legs, spared: Collection[bytes] = ()) -> None:
    if gateway.role.hides_client or gateway.role.hides_server:
        legs.hide_the_inside(spared)
        legs.give_each_its_own_back()
    else:
        legs.are_the_same()
