"""A hundred reloads while 200 calls and 50 transfers go on: none is broken, and nothing grows."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.command.client import ask
from tests.harness.sip_flow import SDP, message, sdp
from tests.netns import ftp_talk
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

CALLS, TRANSFERS, RELOADS, WARM = 200, 50, 100, 40
ASK_EACH_TIME = 20
"""How many phones say something between two reloads: their sessions begin anew, if their policy is another one."""
CHUNK = b"x" * 1000
WAIT = 10.0
GROWTH_BYTES = 6 << 20
"""What the daemon may take more after the last reload than after the first ones, for what it remembers of messages for
half a minute. A flow that each phone leaves behind when it begins anew would be twice as much."""

LIMITS = "limits: {sessions: 5000, sessions_per_client: %d, pinholes_per_client: 2000}"
OUT = "policies: [{name: out, from: [lan0], action: accept, snat: interface, options: {sip: {%s}}}]"
VARIANTS = (
    f"{OUT % ''}\n{LIMITS % 1000}\n",
    f"{OUT % 'block_methods: MESSAGE'}\n{LIMITS % 1000}\n",
    f"{OUT % 'ring_seconds: 4m'}\n{LIMITS % 900}\ntimeouts: {{udp_idle: 5m}}\n",
    f"{OUT % 'max_calls: 5000'}\n{LIMITS % 800}\nports: 41000-58999\n",
)


def media_of(message: bytes) -> tuple[str, int]:
    """Where a description wants its media."""
    host, port = re.search(rb"c=IN IP4 (\S+)", message), re.search(rb"m=audio (\d+)", message)
    assert host and port, message
    return host[1].decode(), int(port[1])


def bound(host: Host, port: int) -> socket.socket:
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(host.v4), port))
    sock.settimeout(WAIT)
    return sock


def answer_to(request: bytes, *fields: str, body: str = "") -> bytes:
    lines = request.decode().split("\r\n")
    kept = [line for line in lines if line.startswith(("Via:", "From:", "Call-ID:", "CSeq:"))]
    to = next(line for line in lines if line.startswith("To:"))
    return message("SIP/2.0 200 OK", *kept, to if ";tag=" in to else f"{to};tag=s", *fields, body=body)


@dataclass
class Call:
    """A call with audio both ways, from a phone of its own."""

    number: int
    lab: Lab
    exchange: socket.socket
    phone: socket.socket = field(init=False)
    near: socket.socket = field(init=False)
    far: socket.socket = field(init=False)
    spoken: int = 0

    def __post_init__(self) -> None:
        self.phone = bound(self.lab.client, 30000 + self.number)
        self.near = bound(self.lab.client, 10000 + 2 * self.number)
        self.far = bound(self.lab.server, 10000 + 2 * self.number)
        us, them = str(self.lab.client.v4), str(self.lab.server.v4)
        self.say("INVITE", f"Contact: <sip:p@{us}:{30000 + self.number}>", SDP, body=sdp(us, 10000 + 2 * self.number))
        request, self.outside = self.exchange.recvfrom(65535)
        self.near_as_seen = media_of(request)
        body = sdp(them, 10000 + 2 * self.number)
        self.exchange.sendto(answer_to(request, f"Contact: <sip:x@{them}>", SDP, body=body), self.outside)
        self.far_as_seen = media_of(self.phone.recv(65535))
        self.say("ACK")
        assert self.exchange.recvfrom(65535)[0].startswith(b"ACK ")

    def say(self, method: str, *fields: str, body: str = "") -> None:
        """The phone says something within the call."""
        us, them = str(self.lab.client.v4), str(self.lab.server.v4)
        self.spoken += method != "ACK"
        request = message(
            f"{method} sip:x@{them} SIP/2.0",
            f"Via: SIP/2.0/UDP {us}:{30000 + self.number};branch=z9hG4bK{self.number}-{self.spoken}-{method};rport",
            "Max-Forwards: 70",
            f"From: <sip:p{self.number}@example.org>;tag=p",
            "To: <sip:x@example.org>" + (";tag=s" if self.spoken > 1 or method == "ACK" else ""),
            f"Call-ID: call-{self.number}",
            f"CSeq: {self.spoken} {method}",
            *fields,
            body=body,
        )
        self.phone.sendto(request, (them, 5060))

    def asks(self, method: str) -> None:
        """The phone asks something, and is answered."""
        self.say(method)
        request, source = self.exchange.recvfrom(65535)
        assert (request.split(b" ")[0], source) == (method.encode(), self.outside)
        self.exchange.sendto(answer_to(request), source)
        assert self.phone.recv(65535).startswith(b"SIP/2.0 200 ")

    def talks(self, number: int) -> None:
        """One packet of speech each way."""
        packet = b"\x80\x00" + number.to_bytes(2, "big") + bytes(168)
        self.near.sendto(packet, self.far_as_seen)
        self.far.sendto(packet, self.near_as_seen)

    def has_heard(self) -> None:
        assert len(self.far.recv(2000)) == len(self.near.recv(2000)) == 172

    def close(self) -> None:
        for sock in (self.phone, self.near, self.far):
            sock.close()


class Transfer:
    """A download that takes as long as the test."""

    def __init__(self, lab: Lab, listener: socket.socket) -> None:
        self.client = ftp_talk.dial(lab.client, str(lab.server.v4), 21)
        self.server, _ = listener.accept()
        self._say(self.server, b"220 ready\r\n", self.client)
        for command, reply in ((b"USER u\r\n", b"331 password\r\n"), (b"PASS p\r\n", b"230 in\r\n")):
            self._say(self.client, command, self.server)
            self._say(self.server, reply, self.client)
        waiting = ftp_talk.serving(lab.server, 0)
        port = waiting.getsockname()[1]
        self._say(self.client, b"PASV\r\n", self.server)
        numbers = (*str(lab.server.v4).split("."), port >> 8, port & 255)
        named = self._say(self.server, f"227 Here ({','.join(map(str, numbers))}).\r\n".encode(), self.client)
        told = re.search(rb"\((\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\)", named)
        assert told is not None
        at = [int(number) for number in told.groups()]
        self.sink = ftp_talk.dial(lab.client, ".".join(map(str, at[:4])), at[4] * 256 + at[5])
        self.source, _ = waiting.accept()
        waiting.close()
        self._say(self.client, b"RETR x\r\n", self.server)
        self._say(self.server, b"150 here\r\n", self.client)
        self.moved = 0

    @staticmethod
    def _say(speaker: socket.socket, line: bytes, hearer: socket.socket) -> bytes:
        speaker.sendall(line)
        hearer.settimeout(WAIT)
        heard = b""
        while not heard.endswith(b"\r\n"):
            heard += hearer.recv(1000)
        return heard

    def move(self) -> None:
        self.source.sendall(CHUNK)

    def has_moved(self) -> None:
        self.sink.settimeout(WAIT)
        left = len(CHUNK)
        while left:
            left -= len(self.sink.recv(left))
        self.moved += len(CHUNK)

    def end(self) -> None:
        self.source.close()
        assert self.sink.recv(1) == b""
        assert self._say(self.server, b"226 done\r\n", self.client) == b"226 done\r\n"
        for sock in (self.sink, self.client, self.server):
            sock.close()


def reload(daemon: Daemon, variant: int) -> dict[str, Any]:
    daemon.write_config(VARIANTS[variant % len(VARIANTS)])
    return ask(f"{daemon.directory}/control.sock", "POST", "v1/reload")


@dataclass(frozen=True)
class Held:
    """What the daemon holds."""

    memory: int
    descriptors: int
    sessions: int
    """Those that are over are among them while their engines look after a call."""
    pinholes: int

    @classmethod
    def by(cls, daemon: Daemon) -> Held:
        process = Path(f"/proc/{daemon.pid}")
        pages = int((process / "statm").read_text().split()[1])
        sessions, pinholes = len(daemon.ask("sessions")["sessions"]), daemon.ask("status")["pinholes"]
        return cls(pages * 4096, _descriptors(process), sessions, pinholes)


def _descriptors(process: Path) -> int:
    """The fewest of several counts, since the connection by which somebody has just asked is closed a moment later."""
    counts = []
    for _ in range(10):
        counts.append(len(list((process / "fd").iterdir())))
        time.sleep(0.02)
    return min(counts)


@pytest.mark.executed  # it is asked what memory it holds
def test_a_hundred_reloads_break_no_call_and_no_transfer_and_leave_nothing() -> None:
    with Lab("nat") as lab, pinhole(lab, VARIANTS[0]) as daemon, contextlib.ExitStack() as open_ones:
        exchange = open_ones.enter_context(bound(lab.server, 5060))
        listener = open_ones.enter_context(ftp_talk.serving(lab.server, 21))
        listener.settimeout(WAIT)
        calls = [Call(number, lab, exchange) for number in range(CALLS)]
        transfers = [Transfer(lab, listener) for _ in range(TRANSFERS)]
        warm = Held.by(daemon)
        for number in range(1, RELOADS + 1):
            answer = reload(daemon, number)
            assert answer["ok"] and answer["changes"] and answer["ends"] == [], answer
            for call in calls:
                call.talks(number)
            for transfer in transfers:
                transfer.move()
            for call in calls:
                call.has_heard()
            for transfer in transfers:
                transfer.has_moved()
            for call in calls[number * ASK_EACH_TIME % CALLS :][:ASK_EACH_TIME]:
                call.asks("INFO")
            if number == WARM:
                warm = Held.by(daemon)
        now = Held.by(daemon)
        assert now.memory - warm.memory < GROWTH_BYTES, (warm, now)
        assert replace(now, memory=0) == replace(warm, memory=0)
        if daemon.kernel_path != "off":
            assert daemon.ask("status")["fastpath"]["streams"] == 2 * CALLS
        for call in calls:
            call.asks("BYE")
            call.close()
        for transfer in transfers:
            transfer.end()
        daemon.wait_for("call.ended", CALLS)
        assert [line["reason"] for line in daemon.audit("call.ended")] == ["bye_of_caller"] * CALLS
        daemon.wait_for("ftp.transfer", TRANSFERS)
        assert {line["bytes"] for line in daemon.audit("ftp.transfer")} == {RELOADS * len(CHUNK)}
        assert len(daemon.audit("config.reloaded")) == RELOADS
        bad = ("daemon.failed", "engine.failed", "violation", "session.denied", "session.failed", "config.rejected")
        assert [line for event in bad for line in daemon.audit(event)] == []
