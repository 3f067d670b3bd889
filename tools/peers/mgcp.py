"""A media gateway (osmo-mgw), and a call agent that commands it by a script, with the transactions of RFC 3435 annex F.

osmo-mgw relays RTP between two connections of one endpoint. So audio that somebody sends to the place of one connection
comes out of the other one, and has passed whatever stands between them twice.
"""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers import programs
from tools.peers.ftp import SECONDS

Address = IPv4Address | IPv6Address
At = tuple[str, int]
"""An address and a port, as sockets have them."""
GATEWAY_PORT, AGENT_PORT = 2427, 2727
DOMAIN = "mgw"
TRIES, TRY_SECONDS = 4, 5
"""How often a command is sent before its agent gives up, and how long each is waited for: nothing is lost in a lab, and
for a command that comes again osmo-mgw may make another connection."""


def missing() -> str:
    """What is not installed; empty when nothing is."""
    return programs.missing("osmo-mgw")


# -- a gateway ---------------------------------------------------------------------------------------------------------

_CONFIG = """
log stderr
 logging level all notice
 logging color 0
line vty
 no login
 bind 127.0.0.1
mgcp
 domain {domain}
 bind ip {address}
 bind port {port}
 rtp net-range 16002 16097
 rtp {bind} {address}
 number endpoints 8
 loop 0
 force-realloc 1
"""


@contextlib.contextmanager
def osmo_mgw(host: Host, address: Address, domain: str = DOMAIN) -> Iterator[Path]:
    """osmo-mgw on a host, at one of its addresses; its log. It takes commands for endpoints of this domain alone."""
    bind = "bind-ip" if address.version == 4 else "bind-ip-v6"
    with tempfile.TemporaryDirectory(prefix="osmo-mgw-") as made:
        config, log = Path(made) / "mgw.cfg", Path(made) / "log"
        config.write_text(_CONFIG.format(domain=domain, address=address, port=GATEWAY_PORT, bind=bind))
        with log.open("wb") as output:
            process = host.popen([programs.program("osmo-mgw"), "-c", str(config)], stdout=output, stderr=output)
        try:
            host.wait_until_bound("udp", GATEWAY_PORT, process)
            yield log
        finally:
            host.end(process, SECONDS)


# -- an agent ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Response:
    """What a gateway answers."""

    code: int
    parameters: dict[str, str]
    description: str

    @property
    def media(self) -> At:
        """Where the gateway says that it waits."""
        host = re.search(r"^c=IN IP[46] (\S+)", self.description, re.MULTILINE)
        port = re.search(r"^m=\w+ (\d+)", self.description, re.MULTILINE)
        assert host is not None and port is not None, self.description
        return host[1], int(port[1])


def description(at: At) -> str:
    """Somebody who waits for G.711 there."""
    host, port = at
    family = 6 if ":" in host else 4
    lines = (
        "v=0", f"o=- 1 1 IN IP{family} {host}", "s=-", f"c=IN IP{family} {host}", "t=0 0", f"m=audio {port} RTP/AVP 0",
    )  # fmt: skip
    return "\r\n".join(lines) + "\r\n"


class Speaker:
    """A host's socket for MGCP."""

    def __init__(self, host: Host, address: Address, port: int) -> None:
        with host.inside():
            self.socket = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((str(address), port))
        self.socket.settimeout(SECONDS)
        self.copies = 1
        """How often each command is sent at once."""
        self._number = 0

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, message: str, to: At) -> None:
        self.socket.sendto(message.encode(), to)

    def hear(self) -> tuple[str, At]:
        """The next datagram, and where it came from. Raises TimeoutError."""
        data, source = self.socket.recvfrom(65535)
        return data.decode(), (source[0], source[1])

    def ask(self, to: At, verb: str, endpoint: str, *lines: str, media: At | None = None) -> Response:
        """Send a command until it is answered. Raises TimeoutError."""
        self._number += 1
        message = "".join(f"{line}\r\n" for line in (f"{verb} {self._number} {endpoint} MGCP 1.0", *lines))
        if media is not None:
            message += "\r\n" + description(media)
        for _ in range(TRIES):
            for _ in range(self.copies):
                self.say(message, to)
            if (response := self._answer(self._number)) is not None:
                return response
        raise TimeoutError(f"{verb} to {to} is not answered")

    def _answer(self, number: int) -> Response | None:
        """The final response to the command with this number, if it comes in time."""
        before = self.socket.gettimeout()
        self.socket.settimeout(TRY_SECONDS)
        try:
            while True:
                said, _ = self.hear()
                if re.match(rf"[2-9][0-9][0-9] {number}\b", said):
                    return read_response(said)
        except TimeoutError:
            return None
        finally:
            self.socket.settimeout(before)


def read_response(said: str) -> Response:
    """A response as its agent reads it."""
    head, _, body = said.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    parameters = dict(re.split(r":\s*", line, maxsplit=1) for line in lines if ":" in line)
    return Response(int(first[:3]), parameters, body)


# -- the two ends of a call --------------------------------------------------------------------------------------------


class Phone:
    """A socket that sends and hears RTP."""

    def __init__(self, host: Host, address: Address, port: int) -> None:
        with host.inside():
            self.socket = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.bind((str(address), port))
        self.socket.settimeout(SECONDS)
        self.at = str(address), port

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, packets: Sequence[bytes], to: At) -> None:
        for packet in packets:
            self.socket.sendto(packet, to)

    def hear(self, seconds: float = SECONDS) -> bytes:
        """The next packet. Raises TimeoutError."""
        self.socket.settimeout(seconds)
        return self.socket.recv(65535)


def rtp(number: int, ssrc: int) -> bytes:
    """A packet of G.711."""
    head = b"\x80\x00" + number.to_bytes(2, "big") + (160 * number).to_bytes(4, "big") + ssrc.to_bytes(4, "big")
    return head + bytes([number % 256]) * 160


def converse(agent: Speaker, found: At, one: Phone, other: Phone, packets: int = 10) -> int:
    """An agent has its media gateway connect two phones, which hear each other, and ends that. Returns how many packets
    were heard. Raises TimeoutError and AssertionError."""
    endpoint, ends = f"rtpbridge/*@{DOMAIN}", []
    for phone in (one, other):
        made = agent.ask(found, "CRCX", endpoint, "C: 2", "L: p:20, a:PCMU", "M: sendrecv", media=phone.at)
        assert made.code == 200, made
        endpoint = made.parameters.get("Z", endpoint)
        ends.append(made.media)
    exchange(one, ends[0], other, ends[1], packets)
    assert agent.ask(found, "DLCX", endpoint, "C: 2").code in (200, 250)
    return 2 * packets


def exchange(one: Phone, one_to: At, other: Phone, other_to: At, packets: int = 10) -> None:
    """Each of two phones speaks to where its end of the call is, and hears what the other one says. Raises TimeoutError
    and AssertionError."""
    for number in range(packets):
        for speaker, to, listener, ssrc in ((one, one_to, other, 0x0A0A0A0A), (other, other_to, one, 0x0B0B0B0B)):
            sent = rtp(1000 + number, ssrc)
            speaker.send([sent], to)
            while (heard := listener.hear())[-160:] != sent[-160:]:
                pass
            assert heard[:2] == sent[:2], heard[:12].hex()
