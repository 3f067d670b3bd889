"""Messages and conversations of others through the engine: without NAT each byte passes, with NAT what is to change
changes.

What each message says, or why it is refused, stands in test_sip_torture.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport
from protocols.contract.effects import Send
from protocols.sip.head import BadMessage
from protocols.sip.helper import HELPER
from protocols.sip.reading import read_message
from protocols.sip.stream import is_keep_alive
from tests.harness.pcap import connections, datagrams
from tests.harness.playbook import NETWORKS, Session, on, render_messages
from tests.harness.recordings import found
from tests.protocols.sip.test_torture import CAPTURES, MESSAGES, TORTURE, Refused, told
from tests.protocols.sip.test_transcripts import nothing_is_left

SINGLE = [*(("sip-torture", name) for name in TORTURE), *(("sip-messages", name) for name in MESSAGES)]

Expected = tuple[str, ...] | int | None
"""The lines that are new in what is sent on; or with what the sender is answered; or nothing is sent."""

MENDED: dict[str, tuple[str, ...]] = {
    "mismatch02.dat": ("+ CSeq: 8 NEWMETHOD",),
    "multi01.dat": (
        "- CSeq: 59 INVITE",
        "- Call-ID: multi01.98asdh@192.0.2.2",
        "- To: sip:other@example.net",
        "- From: sip:caller@example.net;tag=2923420123",
    ),
    "sg.sip": (
        "+ From: sip:Acaller@icr.a-star.edu.sg:6060;tag=MTU3MT\\x20",
        "+ To: sip:theCallee@iptel.org\\x20",
    ),
}
"""What others could read in another way."""

MENDED_CAPTURES = {"suricata-multi-value-headers.pcap": b"To: <sip:12345@voip.brujula.net>\r\n"}
"""Likewise: made to call another one for whoever goes by the last To. The line that does not go on."""

WITH_NAT: dict[str, Expected] = {
    "badaspec.dat": (),
    "badbranch.dat": ("+ Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK",),
    "baddate.dat": (),
    "badvers.dat": 505,
    "bcast.dat": ("+ Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK1324923",),
    "clerr.dat": 400,
    "cparam01.dat": (),
    "esc01.dat": (),
    "esc02.dat": (),
    "inv2543.dat": (),
    "invut.dat": (),
    "ipv6-bug-abnf-3-colons.dat": (),
    "ipv6-good.dat": ("+ Via: SIP/2.0/UDP [2001:db8:1::1];branch=z9hG4bKas3-111",),
    "ipv6-in-sdp.dat": 400,
    "longreq.dat": (),
    "lwsruri.dat": (
        "+ Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKkdjuw2395",
        "+ Content-Length: 166",
        "+ o=mhandley 29739 7272939 IN IP4 198.51.100.1",
        "+ c=IN IP4 198.51.100.1",
        "+ m=audio 40000 RTP/AVP 0 12",
        "+ m=video 40002 RTP/AVP 31",
    ),
    "mismatch02.dat": MENDED["mismatch02.dat"],
    "mpart01.dat": (
        "+ Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport",
        "+ Route: <sip:198.51.100.1:5060>",
        "+ Contact: <sip:fluffy@198.51.100.1:5060>",
    ),
    "mult-ip-in-sdp.dat": (
        "+ Via: SIP/2.0/UDP [2001:db8:1::1];branch=z9hG4bKas3-111",
        '+ Contact: "Caller" <sip:caller@[2001:db8:1::1]>',
        "+ a=rtpmap:107 H263-1998\\c",
    ),
    "multi01.dat": (
        "+ Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKkdjuw",
        *MENDED["multi01.dat"],
        "+ l: 159",
        "+ o=mhandley 29739 7272939 IN IP4 198.51.100.1",
        "+ c=IN IP4 198.51.100.1",
        "+ m=audio 40000 RTP/AVP 0 12",
        "+ m=video 40002 RTP/AVP 31",
    ),
    "noreason.dat": ("+ Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK2398ndaoe",),
    "port-unambiguous.dat": ("+ Via: SIP/2.0/UDP [2001:db8:1::1];branch=z9hG4bKas3-111",),
    "quotbal.dat": ("+ Via: SIP/2.0/UDP 198.51.100.1:61000;branch=z9hG4bKkdjuw39234",),
    "regescrt.dat": (),
    "scalar02.dat": 400,
    "semiuri.dat": ("+ Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKkdjuw",),
    "trws.dat": (),
    "unkscm.dat": (),
    "unksm2.dat": ("+ Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKkdjuw",),
    "via-received-param-no-delim.dat": (
        "+ Via: SIP/2.0/UDP [2001:db8:1::1];received=2001:db8::9:255;branch=z9hG4bKas3",
        '+ Contact: "Caller" <sip:caller@[2001:db8:1::1]>',
    ),
    "wsinv.dat": ("+     198.51.100.1;branch=390skdjuw",),
    "bad_uri.sip": None,
    "bad_via2.sip": None,
    "bc2.sip": ("+ Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1ac2.64b19ee4.0\\n",),
    "bye_chris.sip": (
        "+ Record-Route: <sip:christian@198.51.100.1;ftag=as38468f70;lr=on>\\n",
        "+ Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1ac2.64b19ee4.0\\n",
    ),
    "inv_srv.sip": 400,
    "invite01.sip": ("+ Via: SIP/2.0/UDP 198.51.100.1:61000",),
    "invite03.sip": ("+ Via: SIP/2.0/UDP 198.51.100.1:61000", "+ a=fmtp:101 0-16\\r\\c"),
    "invite05.sip": ("+ Via: SIP/2.0/UDP 198.51.100.1:61000", "+ a=fmtp:101 0-16\\r\\c"),
    "invite3-callid.sip": 400,
    "invite5-callid.sip": 400,
    "long.sip": 400,
    "message02.sip": 400,
    "ms-invite-00-rpl.sip": ("+ Via: SIP/2.0/UDP 10.1.0.2;branch=902932441872fa3682b9de564b113050.e1.0\\n",),
    "ms-invite-01-rpl.sip": ("+ Via: SIP/2.0/UDP 10.1.0.2;branch=902932441872fa3682b9de564b113050.e1.0\\n",),
    "nmr.sip": 400,
    "pingtel.sip": (),
    "register02.sip": (),
    "register04.sip": (),
    "req-test1.sip": (
        "+ INVITE sip:foo@198.51.100.1:5060  SIP/2.0\\n",
        "+ Via: SIP/2.0/UDP 198.51.100.1\\n",
        "+ Via: SIP/2.0/UDP 198.51.100.1:5060\\n",
    ),
    "req1.sip": 400,
    "route.sip": 400,
    "sg.sip": (*MENDED["sg.sip"], "+ a=rtpmap:\\c"),
    "short_reply.sip": None,
}


def speaker(data: bytes) -> Side:
    return Side.SERVER if data.lstrip().startswith(b"SIP/2.0") else Side.CLIENT


def named(data: bytes) -> Host | None:
    """The address in the top Via: of who sends a request, and of whom a response goes to."""
    try:
        _, via = read_message(data).vias()[0]
    except BadMessage:
        return None
    return via.host if isinstance(via.host, Host) else None


def heard(network: Peers, data: bytes) -> tuple[Session, Expected]:
    """What the engine does with it."""
    session, side = Session.of(HELPER, network), speaker(data)
    session.receive(side, data)
    lines = [line for line in render_messages(session.effects, data, side) if not line.startswith(("note ", "|"))]
    if not lines:
        return session, None
    if lines[0].startswith(f"-> {side.value}: "):
        return session, int(lines[0].split()[3])
    return session, tuple(lines[1:])


@pytest.mark.parametrize(("folder", "name"), SINGLE)
def test_without_nat_a_message_passes_as_it_came_or_meets_the_policy(folder: str, name: str) -> None:
    data = found(folder, name).read_bytes()
    expected = told(data)
    session, done = heard(on(NETWORKS["none"], HELPER, Transport.UDP), data)
    if isinstance(expected, Refused):
        assert done == expected.answer
    else:
        assert done == MENDED.get(name, ())
    is_told = not isinstance(done, tuple) or name in MENDED
    assert ("sip.malformed" in session.violations()) == is_told
    nothing_is_left(session)


@pytest.mark.parametrize(("folder", "name"), SINGLE)
def test_with_nat_a_message_names_its_sender_by_our_address(folder: str, name: str) -> None:
    data = found(folder, name).read_bytes()
    host = named(data)
    network = on(NETWORKS["snat6" if host is not None and host.version == 6 else "snat"], HELPER, Transport.UDP)
    if host is not None and speaker(data) is Side.CLIENT:
        network = replace(network, client=Endpoint(host, 5060))
    elif host is not None:
        network = replace(network, client_as_seen=Endpoint(host, 5060))
    session, done = heard(network, data)
    assert done == WITH_NAT[name]
    refused = not isinstance(done, tuple)
    told = [note["action"] for note in session.notes("violation") if note["rule"] == "sip.malformed"]
    assert len(told) == refused + told.count("mended")
    assert bool(told.count("mended")) == (name in MENDED)
    nothing_is_left(session)


# -- captures ----------------------------------------------------------------------------------------------------------


@dataclass
class Conversation:
    """Between two addresses of a capture."""

    client: Endpoint
    server: Endpoint
    transport: Transport
    said: list[tuple[Side, bytes]] = field(default_factory=list)

    def through(self, seen: Host) -> Session:
        """A session in which the client is known by that address."""
        known = Endpoint(seen, self.client.port)
        return Session.of(HELPER, Peers(self.client, known, self.server, self.server, self.transport))


def conversations(name: str) -> Iterator[Conversation]:
    flows: dict[frozenset[Endpoint], Conversation] = {}
    for datagram in datagrams(found("sip", name), 5060):
        pair = frozenset((datagram.source, datagram.target))
        flow = flows.setdefault(pair, Conversation(datagram.source, datagram.target, Transport.UDP))
        flow.said.append((Side.CLIENT if datagram.source == flow.client else Side.SERVER, datagram.data))
    yield from flows.values()
    for connection in connections(found("sip", name), 5060):
        yield Conversation(connection.client, connection.server, Transport.TCP, connection.said)


def is_whole(data: bytes) -> bool:
    if is_keep_alive(data):
        return True
    try:
        read_message(data)
    except BadMessage:
        return False
    return True


def sent(session: Session, side: Side, data: bytes) -> list[Send]:
    before = len(session.effects)
    if data:
        session.receive(side, data)
    else:
        session.eof(side)
    return [effect for effect in session.effects[before:] if isinstance(effect, Send)]


@pytest.mark.parametrize("name", CAPTURES)
def test_a_captured_conversation_passes_as_it_came_without_nat(name: str) -> None:
    gone = MENDED_CAPTURES.get(name)
    for conversation in conversations(name):
        session = conversation.through(conversation.client.host)
        for side, data in conversation.said:
            sends = sent(session, side, data)
            if conversation.transport is Transport.TCP:
                continue
            if is_whole(data):
                assert sends == [Send(side.other, data.replace(gone, b"") if gone else data)]
            else:
                assert all(send.to is side for send in sends)
                assert session.violations()[-1] == "sip.malformed"
        if conversation.transport is Transport.TCP:
            for side in Side:
                said = b"".join(data for speaker, data in conversation.said if speaker is side)
                assert session.sent(side.other) == said
        nothing_is_left(session)


@pytest.mark.parametrize("name", CAPTURES)
def test_a_captured_phone_is_known_by_our_address_and_gets_its_own_back(name: str) -> None:
    """Its server is told what we make of it and answers that; so what comes back to the phone is what was captured."""
    for conversation in conversations(name):
        ours = as_long_as(conversation.client.host)
        session = conversation.through(ours)
        names = Names(conversation.client.host, ours)
        captured = returned = b""
        for side, data in conversation.said:
            if conversation.transport is Transport.UDP and not is_whole(data):
                continue
            if side is Side.CLIENT:
                names.learn(data, b"".join(send.data for send in sent(session, side, data)))
            else:
                captured += data
                returned += b"".join(send.data for send in sent(session, side, names.echo(data)))
        assert NAMING.findall(returned) == NAMING.findall(captured)
        nothing_is_left(session)


NAMING = re.compile(rb"(?im)^(?:via|v|contact|m|route|record-route)[ \t]*:.*$")
"""The lines in which a phone is to find itself."""


class Names:
    """What a server knows a phone by, as it was told."""

    def __init__(self, own: Host, seen: Host) -> None:
        self.seen = str(seen).encode()
        # As a host, and not as a part of a branch.
        self.own = re.compile(rb"(?<=[ @:=])" + re.escape(str(own).encode()) + rb"(?P<port>:[0-9]+)?(?![0-9])")
        self.known: dict[bytes, bytes] = {}
        self._said = self._sent_on = b""

    def learn(self, said: bytes, sent_on: bytes) -> None:
        self._said += said
        self._sent_on += sent_on
        if self._said.count(b"\n") != self._sent_on.count(b"\n"):
            return  # of a stream: a message has come in half
        said, self._said, sent_on, self._sent_on = self._said, b"", self._sent_on, b""
        for before, after in zip(NAMING.findall(said), NAMING.findall(sent_on), strict=True):
            assert not self.own.search(after)
            if (match := self.own.search(before)) is not None:
                self.known[match[0]] = after[match.start() :].split(before[match.end() : match.end() + 1])[0].strip()

    def echo(self, data: bytes) -> bytes:
        def name(match: re.Match[bytes]) -> bytes:
            return self.known.get(match[0]) or self.seen + (match["port"] or b"")

        return NAMING.sub(lambda line: self.own.sub(name, line[0]), data)


def as_long_as(host: Host) -> Host:
    """Another address of the same length, so that no length in a message is another one."""
    text = str(host)
    return ip_address(text[:-1] + ("1" if text[-1] != "1" else "2"))
