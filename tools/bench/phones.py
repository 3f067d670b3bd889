"""Phones that do what they are told: they hold calls, thousands of them, and send audio.

Run as a program on a host: `python -m tools.bench.phones caller|callee ADDRESS SERVER`. It takes orders (orders.py),
whose names are the methods below. The callee answers every call by itself, at once.
"""

from __future__ import annotations

import re
import resource
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Any

from tools.bench.orders import take_orders

FIRST_PORT = 10_000
"""Of media: each call has the next two, but that a callee of faxes has few, which its calls share."""
SHARED_PORTS = 2500
AT_ONCE = 20
"""Calls that are being set up or taken down."""
PATIENCE_SECONDS = 5.0
PACKET_SECONDS = 0.02
PACKET_BYTES = 172
"""RTP with 20 ms of G.711."""
TICK_SECONDS = 0.001
"""So many packets are sent together as fall into that time."""
BUFFER_BYTES = 1 << 22
_REST = bytes(PACKET_BYTES - 20)

_AUDIO = "m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
_FAX = "m=image {port} udptl t38\r\n"
_PORT = re.compile(rb"\r\nm=(audio|image) (\d+) ")
_ADDRESS = re.compile(rb"\r\nc=IN IP4 (\S+)")
_CALL_ID = re.compile(rb"\r\nCall-ID: (\S+)")


def _description(host: str, port: int, kind: str) -> str:
    line = (_AUDIO if kind == "audio" else _FAX).format(port=port)
    return f"v=0\r\no=- {port} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n{line}"


def _udp(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.bind((host, port))
    return sock


@dataclass(slots=True)
class Call:
    number: int
    kind: str
    to_tag: str = ""
    media: tuple[str, int] = ("", 0)
    """Where the callee waits, as the caller was told."""


class Caller:
    def __init__(self, host: str, server: str) -> None:
        self._host, self._server = host, server
        self._sock = _udp(host, 5060)
        self._sock.settimeout(PATIENCE_SECONDS)
        self._held: list[Call] = []
        # Not where another run has begun: the same datagrams within half a minute would be repeats of that one's.
        self._next = secrets.randbelow(1 << 30)
        self._talking: threading.Thread | None = None
        self._is_hushed = threading.Event()

    def hold(self, count: int, kind: str) -> dict[str, Any]:
        """So many more calls. Returns the number of the first one."""
        begun = self._set_up(count, kind)
        self._held += begun
        return {"first": begun[0].number}

    def release(self) -> dict[str, Any]:
        """All that are held. Returns when the last one's end was answered, by `time.perf_counter_ns`."""
        held, self._held = self._held, []
        self._take_down(held)
        return {"at": time.perf_counter_ns()}

    def calls(self, count: int, kind: str) -> dict[str, Any]:
        """So many calls, each taken down as soon as all are set up that are under way with it."""
        for _ in range(count // AT_ONCE):
            self._take_down(self._set_up(AT_ONCE, kind))
        return {}

    def call(self, kind: str) -> None:
        """One call, alone."""
        self._take_down(self._set_up(1, kind))

    def send(self, streams: int, seconds: float) -> dict[str, Any]:
        """Audio in that many of the calls held, evenly over time. Each packet says when it was sent."""
        held = self._held[:streams]
        ways = [(_udp(self._host, _port(call.number)), call.media) for call in held]
        a_tick = max(1, round(streams * TICK_SECONDS / PACKET_SECONDS))
        total = int(streams * seconds / PACKET_SECONDS)
        began = time.perf_counter()
        for sent in range(0, total, a_tick):
            for number in range(sent, min(sent + a_tick, total)):
                sock, media = ways[number % streams]
                sock.sendto(_packet(number // streams), media)
            due = began + (sent + a_tick) * PACKET_SECONDS / streams
            if (left := due - time.perf_counter()) > 0:
                time.sleep(left)
        took = time.perf_counter() - began
        for sock, _ in ways:
            sock.close()
        return {"packets": total, "seconds": took}

    def talk(self) -> dict[str, Any]:
        """Audio in the first call that is held, a packet each millisecond, until `hush`."""
        self._is_hushed.clear()
        self._talking = threading.Thread(target=self._talk, args=(self._held[0],))
        self._talking.start()
        return {}

    def _talk(self, call: Call) -> None:
        with _udp(self._host, _port(call.number)) as sock:
            number = 0
            while not self._is_hushed.wait(0.001):
                sock.sendto(_packet(number), call.media)
                number += 1

    def hush(self) -> dict[str, Any]:
        """No audio any more."""
        assert self._talking
        self._is_hushed.set()
        self._talking.join()
        return {}

    # -- signalling ------------------------------------------------------------------------------------------------

    def _set_up(self, count: int, kind: str) -> list[Call]:
        begun = [Call(self._next + number, kind) for number in range(count)]
        self._next += count
        for some in _in_groups(begun):
            for call in some:
                self._request("INVITE", call, _description(self._host, _port(call.number), kind))
            for call, answer in self._answers(some):
                call.to_tag = answer.partition(b"\r\nTo: ")[2].partition(b"tag=")[2].partition(b"\r")[0].decode()
                host, port = _ADDRESS.search(answer), _PORT.search(answer)
                assert host and port
                call.media = (host[1].decode(), int(port[2]))
                self._request("ACK", call)
        return begun

    def _take_down(self, calls: list[Call]) -> None:
        for some in _in_groups(calls):
            for call in some:
                self._request("BYE", call)
            for _ in self._answers(some):
                pass

    def _request(self, method: str, call: Call, body: str = "") -> None:
        at = f"{self._host}:5060"
        number = 2 if method == "BYE" else 1
        lines = [
            f"{method} sip:callee@{self._server}:5060 SIP/2.0",
            f"Via: SIP/2.0/UDP {at};branch=z9hG4bK-{call.number}-{method}",
            f"From: <sip:caller@{at}>;tag=a{call.number}",
            f"To: <sip:callee@{self._server}:5060>" + (f";tag={call.to_tag}" if call.to_tag else ""),
            f"Call-ID: {call.number}@{self._host}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:caller@{at}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        message = "\r\n".join(lines) + "\r\n\r\n" + body
        self._sock.sendto(message.encode(), (self._server, 5060))

    def _answers(self, calls: list[Call]) -> Iterator[tuple[Call, bytes]]:
        """The final response of each. RuntimeError for another than 200, or none."""
        waiting = {f"{call.number}@{self._host}".encode(): call for call in calls}
        while waiting:
            try:
                data = self._sock.recv(65535)
            except TimeoutError:
                raise RuntimeError(f"{len(waiting)} calls are not answered") from None
            call_id = _CALL_ID.search(data)
            if call_id is None or data.startswith(b"SIP/2.0 1") or call_id[1] not in waiting:
                continue
            if not data.startswith(b"SIP/2.0 200 "):
                raise RuntimeError(data.partition(b"\r\n")[0].decode())
            yield waiting.pop(call_id[1]), data


class Callee:
    def __init__(self, host: str, _: str) -> None:
        self._host = host
        self._sock = _udp(host, 5060)
        self._media: list[socket.socket] = []
        self._counting: threading.Thread | None = None
        self._delays: list[int] = []
        self._last = 0
        """When the newest packet of those that came was sent."""
        self._is_over = threading.Event()
        threading.Thread(target=self._answer_all, daemon=True).start()

    def _answer_all(self) -> None:
        while True:
            data, peer = self._sock.recvfrom(65535)
            if data.startswith((b"INVITE ", b"BYE ")):
                self._sock.sendto(self._answer(data), peer)

    def _answer(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        kept = (b"Via:", b"From:", b"Call-ID:", b"CSeq:", b"Record-Route:")
        lines = [line for line in head.split(b"\r\n") if line.startswith(kept)]
        to = next(line for line in head.split(b"\r\n") if line.startswith(b"To:"))
        call_id = _CALL_ID.search(request)
        assert call_id
        number = int(call_id[1].partition(b"@")[0])
        answer = ""
        if (offered := _PORT.search(b"\r\n" + body)) is not None:
            is_audio = offered[1] == b"audio"
            port = _port(number) if is_audio else FIRST_PORT + 2 * (number % SHARED_PORTS)
            answer = _description(self._host, port, "audio" if is_audio else "fax")
            to += b";tag=b%d" % number
            lines.append(b"Content-Type: application/sdp")
        lines += [to, b"Contact: <sip:callee@%b:5060>" % self._host.encode(), b"Content-Length: %d" % len(answer)]
        return b"\r\n".join([b"SIP/2.0 200 OK", *lines, b"", answer.encode()])

    def listen(self, first: int, streams: int) -> dict[str, Any]:
        """At the media ports of these calls, until `heard`."""
        self._media = [_udp(self._host, _port(number)) for number in range(first, first + streams)]
        self._delays = []
        self._is_over.clear()
        self._counting = threading.Thread(target=self._count)
        self._counting.start()
        return {}

    def _count(self) -> None:
        ready = select.epoll()
        socks = {sock.fileno(): sock for sock in self._media}
        for sock in self._media:
            sock.setblocking(False)
            ready.register(sock, select.EPOLLIN)
        delays, now, last = self._delays, time.perf_counter_ns, 0
        while True:
            events = ready.poll(0.2, 256)
            if not events and self._is_over.is_set():
                break
            for descriptor, _ in events:
                data = socks[descriptor].recv(2048)
                sent = int.from_bytes(data[12:20])
                delays.append(now() - sent)
                last = max(last, sent)
        self._last = last
        ready.close()

    def heard(self, wanted: int = 0) -> dict[str, Any]:
        """How many packets came, and their delays, in seconds; when the last one of them was sent, in nanoseconds of
        `time.perf_counter_ns`, which is one clock for all processes. wanted: so many are waited for, though not for
        long: on a busy machine some come late, and on a bad way some never come."""
        assert self._counting
        end = time.monotonic() + PATIENCE_SECONDS
        while len(self._delays) < wanted and time.monotonic() < end:
            time.sleep(0.01)
        self._is_over.set()
        self._counting.join()
        for sock in self._media:
            sock.close()
        if len(self._delays) < 2:
            raise RuntimeError("no audio came")
        return {
            "packets": len(self._delays),
            "last": self._last,
            "median": median(self._delays) / 1e9,
            "percentile_99": quantiles(self._delays, n=100)[98] / 1e9,
        }


def _packet(number: int) -> bytes:
    """A packet of audio that is sent now."""
    return b"\x80\x08" + (number & 0xFFFF).to_bytes(2) + bytes(8) + time.perf_counter_ns().to_bytes(8) + _REST


def _port(number: int) -> int:
    return FIRST_PORT + 2 * (number % 25_000)


def _in_groups(calls: list[Call]) -> Iterator[list[Call]]:
    for at in range(0, len(calls), AT_ONCE):
        yield calls[at : at + AT_ONCE]


def main(role: str, host: str, server: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    phones = Caller(host, server) if role == "caller" else Callee(host, server)
    take_orders(partial(getattr, phones))


if __name__ == "__main__":
    main(*sys.argv[1:])
