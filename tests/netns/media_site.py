"""Two phones with media of their own, on either side of a gateway with pinhole, for tests of where media comes from."""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import socket
import struct
from collections.abc import Iterator
from typing import Literal

from proxy.sockets.transparent import IPV6_TRANSPARENT
from tests.harness.sip_flow import SDP, message
from tools.lab import Daemon, Host, Lab, pinhole
from tools.lab.daemon import KernelPath
from tools.lab.lab import Addresses

Mode = Literal["S", "N", "D"]
"""Source NAT, no NAT, a published phone (destination NAT)."""
MODES: tuple[Mode, ...] = ("S", "N", "D")
VERSIONS = (4, 6)
SITES = [(mode, version) for version in VERSIONS for mode in MODES]
"""What there is to be tried: each way of NAT with each IP version."""

SECONDS = 20.0
"""How long what must come is waited for: on a busy machine a daemon may get no turn for seconds."""
SILENCE_SECONDS = 0.4
RECEIVE_BYTES = 4 << 20
FEW = 5
_numbers = itertools.count(1)
_ports = itertools.count(10000, 10)


class Voice:
    """An RTP stream: numbered packets of one source."""

    def __init__(self, payload: bytes = bytes(160)) -> None:
        self.ssrc = 0x5EED0000 + next(_numbers)
        self._number = itertools.count(1000)
        self._payload = payload

    def packet(self) -> bytes:
        number = next(self._number) & 0xFFFF
        return struct.pack("!BBHII", 0x80, 0, number, number * 160, self.ssrc) + self._payload


class Fax(Voice):
    """UDPTL: packets that begin with a number."""

    def packet(self) -> bytes:
        return struct.pack("!H", next(self._number) & 0xFFFF) + b"\x02" + struct.pack("!I", self.ssrc) + bytes(30)


class Socket:
    """A UDP socket on a host of the lab. spoofs: an address that is another host's."""

    def __init__(self, host: Host, port: int, spoofs: str = "", version: int = 4) -> None:
        with host.inside():
            self.socket = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        if spoofs:
            in_v4, in_v6 = (socket.SOL_IP, socket.IP_TRANSPARENT), (socket.IPPROTO_IPV6, IPV6_TRANSPARENT)
            self.socket.setsockopt(*(in_v4 if version == 4 else in_v6), 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        try:
            self.socket.bind((spoofs or str(host.address(version)), port))
        except OSError:  # Another socket of that host has the port, and a caller may try the next one.
            self.socket.close()
            raise
        self.socket.settimeout(SECONDS)
        self.came_from = ("", 0)
        """The source of what came last."""

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def hears_all(self, voice: Voice) -> int:
        """How many packets of that stream have come and have not been read."""
        self.socket.settimeout(SILENCE_SECONDS)
        try:
            return self.hears(voice, 1 << 30)
        finally:
            self.socket.settimeout(SECONDS)

    def say(self, voice: Voice, to: tuple[str, int], count: int) -> None:
        for _ in range(count):
            self.socket.sendto(voice.packet(), to)

    def hears(self, voice: Voice, count: int) -> int:
        """How many packets of that stream come, at most `count`; others are passed over."""
        mark, found = struct.pack("!I", voice.ssrc), 0
        with contextlib.suppress(TimeoutError):
            while found < count:
                data, source = self.socket.recvfrom(65535)
                self.came_from = source[:2]
                found += mark in data[:12]
        return found

    def is_deaf_to(self, voice: Voice) -> bool:
        self.socket.settimeout(SILENCE_SECONDS)
        try:
            return not self.hears(voice, 1)
        finally:
            self.socket.settimeout(SECONDS)


Way = tuple[Socket, tuple[str, int], Socket]
"""Whose packets go to whom, by which place."""


def in_sdp(host: str) -> str:
    return f"IN IP{6 if ':' in host else 4} {host}"


def in_uri(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def described(host: str, *media: str, more: str = "") -> str:
    at = in_sdp(host)
    return f"v=0\r\no=- 1 1 {at}\r\ns=-\r\nc={at}\r\nt=0 0\r\n" + "".join(f"m={line}\r\n{more}" for line in media)


def audio(port: int) -> str:
    return f"audio {port} RTP/AVP 0"


def places(body: bytes) -> list[tuple[str, int]]:
    """Where a description wants media."""
    text = body.partition(b"\r\n\r\n")[2].decode()
    host = re.search(r"^c=IN IP[46] (\S+)", text, re.M)
    assert host is not None, body
    return [(host[1], int(port)) for port in re.findall(r"^m=\w+ (\d+)", text, re.M)]


def field(data: bytes, name: str) -> str:
    found = re.search(rf"^{name}: *(.*?)\r$", data.decode(), re.M | re.I)
    assert found is not None, data
    return found[1]


class Phone:
    """One party: its host, its signalling, and where it says that its media waits."""

    def __init__(self, site: Site, host: Host, to: tuple[str, int]) -> None:
        self.site = site
        self.host = host
        self.at = str(host.address(site.version))
        self.to = to
        """Where its peer is, as it knows it."""
        self.signalling = site.open(host, 5060)

    def media(self) -> Socket:
        return self.site.open(self.host, next(_ports))

    def hear(self, call: str) -> bytes:
        """The next message of this call."""
        while True:
            data = self.signalling.socket.recv(65535)
            if field(data, "Call-ID") == call:
                return data

    def ask(self, talk: Talk, method: str, number: int, body: str = "") -> bytes:
        """A request, as the peer hears it."""
        self.say(talk, method, number, body)
        return talk.other(self).hear(talk.call)

    def say(self, talk: Talk, method: str, number: int, body: str = "") -> None:
        """A request, whether anybody hears it or not."""
        mine, theirs = talk.tags[self], talk.tags[talk.other(self)]
        to = "<sip:b@example.org>" + (f";tag={theirs}" if talk.is_begun else "")
        data = message(
            f"{method} sip:x@{in_uri(self.to[0])} SIP/2.0",
            f"Via: SIP/2.0/UDP {in_uri(self.at)};branch=z9hG4bK{talk.call}{mine}{number}{method};rport",
            "Max-Forwards: 70",
            f"From: <sip:a@example.org>;tag={mine}",
            f"To: {to}",
            f"Call-ID: {talk.call}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:x@{in_uri(self.at)}>",
            *([SDP] if body else []),
            body=body,
        )
        self.signalling.socket.sendto(data, self.to)

    def answer(self, talk: Talk, request: bytes, status: int, body: str = "") -> bytes:
        """A response to what it has heard, as the peer hears it."""
        to = field(request, "To")
        fields = [f"{name}: {field(request, name)}" for name in ("Via", "From", "Call-ID", "CSeq")]
        tag = "" if ";tag=" in to else f";tag={talk.tags[self]}"
        more = [f"Contact: <sip:x@{in_uri(self.at)}>", *([SDP] if body else [])]
        data = message(f"SIP/2.0 {status} So", *fields, f"To: {to}{tag}", *more, body=body)
        self.signalling.socket.sendto(data, self.to)
        return talk.other(self).hear(talk.call)


class Talk:
    """A call, and what each party was told of the other."""

    def __init__(self, caller: Phone, callee: Phone) -> None:
        self.caller, self.callee = caller, callee
        self.call = f"call{next(_numbers)}"
        self.tags = {caller: "a", callee: "b"}
        self.is_begun = False
        self.media: dict[Phone, list[Socket]] = {}
        self.media_at: dict[Phone, str] = {}
        """The address that a party names, if not its own."""
        self.to: dict[Phone, list[tuple[str, int]]] = {}
        """Where each party sends its media."""
        self.voices = {phone: Voice() for phone in (caller, callee)}
        self._number = itertools.count(1)

    def other(self, phone: Phone) -> Phone:
        return self.callee if phone is self.caller else self.caller

    def describes(self, phone: Phone, more: str = "", kinds: tuple[str, ...] = ("audio",)) -> str:
        lines = [
            f"image {sock.port} udptl t38" if kind == "image" else f"{kind} {sock.port} RTP/AVP 0"
            for kind, sock in zip(kinds, self.media[phone], strict=True)
        ]
        return described(self.media_at.get(phone, phone.at), *lines, more=more)

    def begin(self, kinds: tuple[str, ...] = ("audio",), early: bool = False) -> None:
        """early: it ends with a 183 that has an answer."""
        for phone in (self.caller, self.callee):
            self.media.setdefault(phone, [phone.media() for _ in kinds])
        self.invite = self.caller.ask(self, "INVITE", next(self._number), self.describes(self.caller, kinds=kinds))
        self.to[self.callee] = places(self.invite)
        answer = self.callee.answer(self, self.invite, 183 if early else 200, self.describes(self.callee, kinds=kinds))
        self.to[self.caller] = places(answer)
        self.is_begun = True

    def answered(self) -> None:
        """After early media: the 200, whose description may be another one than that of the 183."""
        self.to[self.caller] = places(self.callee.answer(self, self.invite, 200, self.describes(self.callee)))

    def change(
        self,
        by: Phone,
        method: str = "INVITE",
        more: str = "",
        answer_more: str = "",
        kinds: tuple[str, ...] = ("audio",),
    ) -> None:
        """A new offer of one party with its sockets of now, and the answer of the other one."""
        other = self.other(by)
        offer = by.ask(self, method, next(self._number) + 10, self.describes(by, more, kinds))
        self.to[other] = places(offer)
        answer = other.answer(self, offer, 200, self.describes(other, answer_more, kinds))
        self.to[by] = places(answer)

    def hang_up(self) -> None:
        bye = self.caller.ask(self, "BYE", next(self._number) + 50)
        self.callee.answer(self, bye, 200)

    # -- media ------------------------------------------------------------------------------------------------------

    def say(
        self, phone: Phone, count: int, sock: Socket | None = None, voice: Voice | None = None, line: int = 0
    ) -> None:
        (sock or self.media[phone][line]).say(voice or self.voices[phone], self.to[phone][line], count)

    def take_new_ports(self, *phones: Phone) -> dict[Phone, Socket]:
        """For what these describe from now on. Returns where the first medium of each was."""
        before = {phone: self.media[phone][0] for phone in phones}
        for phone in phones:
            self.media[phone] = [phone.media()]
        return before

    def say_from(self, before: dict[Phone, Socket], count: int) -> None:
        """Stragglers, from where media was before."""
        for phone, sock in before.items():
            self.say(phone, count, sock)

    def is_heard(
        self, phone: Phone, count: int, sock: Socket | None = None, voice: Voice | None = None, line: int = 0
    ) -> int:
        """How many of so many packets of this party come to the other one."""
        sock, hearer = sock or self.media[phone][line], self.media[self.other(phone)][line]
        self.say(phone, count, sock, voice, line)
        heard = hearer.hears(voice or self.voices[phone], count)
        if heard == count:
            phone.site.has_passed((sock, self.to[phone][line], hearer))
        return heard


def both_are_heard(talk: Talk, count: int = FEW, first: Phone | None = None) -> None:
    """Each from its first packet on, from where its partner was told that it is. first: who speaks first."""
    first = first or talk.caller
    for phone in (first, talk.other(first)):
        assert talk.is_heard(phone, count) == count
        assert talk.media[talk.other(phone)][0].came_from == talk.to[talk.other(phone)][0]


class Site:
    """`near` is inside, `far` outside; in mode D the far one calls a published phone."""

    def __init__(self, lab: Lab, daemon: Daemon, mode: Mode, version: int) -> None:
        self.lab, self.daemon, self.mode, self.version = lab, daemon, mode, version
        self._open = contextlib.ExitStack()
        self._passed: set[Way] = set()
        self.passed_again = 0
        """How often a party was heard on a way on which it had been heard before."""
        outside = str(lab.client.address(version) if mode == "N" else lab.gateway.address(version, "wan0"))
        self.near = Phone(self, lab.client, (str(lab.server.address(version)), 5060))
        self.far = Phone(self, lab.server, (outside, 5060))

    @property
    def parties(self) -> tuple[Phone, Phone]:
        """Who calls whom."""
        return (self.far, self.near) if self.mode == "D" else (self.near, self.far)

    @property
    def hold(self) -> str:
        """The address that says hold (RFC 2543)."""
        return "0.0.0.0" if self.version == 4 else "::"

    def open(self, host: Host, port: int, spoofs: str = "") -> Socket:
        opened = Socket(host, port, spoofs, self.version)
        self._open.callback(opened.socket.close)
        return opened

    def talk(self, kinds: tuple[str, ...] = ("audio",), early: bool = False) -> Talk:
        talk = Talk(*self.parties)
        talk.begin(kinds, early)
        return talk

    def has_passed(self, way: Way) -> None:
        """Packets went this way, and all were heard."""
        self.passed_again += way in self._passed
        self._passed.add(way)

    def end(self) -> None:
        """The daemon ends. What went on as it had begun has passed in the kernel, if media may: in user space it would
        be heard as well."""
        self.daemon.stop()
        if self.daemon.kernel_path != "off" and self.passed_again >= FEW:
            assert any(line.get("packets_in_kernel") for line in self.daemon.audit("pinhole.closed"))

    def hear_any(self) -> bytes:
        """What either party hears next."""
        sockets = [self.near.signalling.socket, self.far.signalling.socket]
        ready, _, _ = select.select(sockets, [], [], SECONDS)
        assert ready
        data: bytes = ready[0].recv(65535)
        return data

    def close(self) -> None:
        self._open.close()


def site_id(one: tuple[Mode, int]) -> str:
    mode, version = one
    return f"{mode}{version}"


@contextlib.contextmanager
def site(
    mode: Mode,
    options: str = "",
    more: str = "",
    policy: str = "",
    wide: bool = False,
    addresses: Addresses = "documentation",
    is_locked: bool = True,
    version: int = 4,
    ports: str = "40000-42999",
    under: tuple[str, ...] = (),
    kernel_path: KernelPath | None = None,
    is_path_refused: bool = False,
) -> Iterator[Site]:
    """policy: further keys of it. is_locked: the gateway's firewall lets nothing else pass. version: of IP. under: a
    command that runs the daemon, as root. kernel_path: what carries media, if not what the test at hand has.
    is_path_refused: the daemon is to serve without it."""
    with Lab("routed", addresses, wide) as lab:
        if mode == "D":
            published, phone = lab.gateway.address(version, "wan0"), lab.client.address(version)
            leads = f"from: [wan0], destination: ['{published}'], dnat: '{phone}'"
        else:
            leads = f"from: [lan0], snat: {'none' if mode == 'N' else 'interface'}"
        words = ", ".join(
            filter(None, ("name: one", leads, policy, f"action: accept, options: {{sip: {{{options}}}}}"))
        )
        text = f"policies: [{{{words}}}]\nports: {ports}\n{more}"
        with pinhole(
            lab, text, unprivileged=not under, under=under, kernel_path=kernel_path, is_path_refused=is_path_refused
        ) as daemon:
            if is_locked:
                daemon.lock_down()
            found = Site(lab, daemon, mode, version)
            try:
                yield found
            finally:
                found.close()
            if not is_path_refused and "media_path: user" not in options:
                found.end()
