"""A packet of RTSP's media beside one of SIP's: in user space the CPU of the daemon, and in the kernel that of the
sender, in whose context the kernel carries it where hosts are namespaces of one machine.

Both helpers hold as many streams from the server to the client, in one daemon, without NAT. They take turns by bursts
that sockets hold, and each burst is awaited, so that none is lost.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tools.bench.rounds import Bar, Packets, Progress, in_turn, interval, machine, ranged, ratio
from tools.bench.ways import cpu_seconds
from tools.lab import Daemon, Lab, pinhole
from tools.lab.daemon import KernelPath

SIP, RTSP = "sip", "rtsp"
PATHS: Mapping[str, KernelPath] = {"user space": "off", "kernel": "tcx"}
STREAMS = 10
BURST = 100
"""Packets, of all streams together."""
PACKET = b"\x80\x00" + bytes(170)
"""RTP with 20 ms of G.711."""
MOST_BESIDE_SIP = 1.10
POLICIES = "policies: [{name: out, from: [lan0], action: accept}]"
_VIA = re.compile(r"^Via:.*$", re.MULTILINE)
_INVITE = """\
INVITE sip:b@{server} SIP/2.0
Via: SIP/2.0/UDP {client};branch=z9hG4bK{number}
Max-Forwards: 70
From: <sip:a@{client}>;tag=a
To: <sip:b@{server}>
Call-ID: {number}@{client}
CSeq: 1 INVITE
Contact: <sip:a@{client}>
"""
_ACCEPTED = """\
SIP/2.0 200 OK
{via}
From: <sip:a@{client}>;tag=a
To: <sip:b@{server}>;tag=b
Call-ID: {number}@{client}
CSeq: 1 INVITE
Contact: <sip:b@{server}>
"""
_SDP = """\
v=0
o=- 1 1 IN IP4 {host}
s=-
c=IN IP4 {host}
t=0 0
m=audio {port} RTP/AVP 0
"""


FULL = Packets(rounds=15, packets=20_000)
QUICK = Packets(rounds=5, packets=5_000)


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Packets
    cpu: dict[str, dict[str, list[float]]]
    """Path -> helper -> seconds of a packet, a value for each round."""
    bars: list[Bar]


def rows(report: Report) -> Iterator[tuple[str, ...]]:
    """The lines of a table: the CPU of a packet by each path, with its range."""
    for path, helpers in report.cpu.items():
        for helper, cpu in helpers.items():
            yield path, helper, ranged(cpu)


class Streams:
    """Both ends of streams that one helper has let two hosts agree on."""

    def __init__(self, lab: Lab, first_port: int, agree: Callable[[Lab, range], list[socket.socket]]) -> None:
        ports = range(first_port, first_port + 2 * STREAMS, 2)
        with lab.client.inside():
            self._receivers = [_bound(str(lab.client.v4), port) for port in ports]
        with lab.server.inside():
            self._senders = [_bound(str(lab.server.v4), port) for port in ports]
        for sender, port in zip(self._senders, ports, strict=True):
            sender.connect((str(lab.client.v4), port))
        self._signalling = agree(lab, ports)

    def carry(self, packets: int) -> float:
        """Send so many, and get them all. Returns the CPU that sending took. Raises OSError when one is lost."""
        spent = 0.0
        for _ in range(packets // BURST):
            began = time.thread_time()
            for _ in range(BURST // STREAMS):
                for sender in self._senders:
                    sender.send(PACKET)
            spent += time.thread_time() - began
            for _ in range(BURST // STREAMS):
                for receiver in self._receivers:
                    receiver.recv(2048)
        return spent

    def close(self) -> None:
        for sock in (*self._senders, *self._receivers, *self._signalling):
            sock.close()


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, port))
    sock.settimeout(10)
    return sock


def _calls(lab: Lab, ports: range) -> list[socket.socket]:
    """A call for each port, which both parties have."""
    client, server = str(lab.client.v4), str(lab.server.v4)
    with lab.client.inside():
        caller = _bound(client, 5060)
    with lab.server.inside():
        callee = _bound(server, 5060)
    for port in ports:
        names = {"client": client, "server": server, "number": port}
        caller.sendto(_message(_INVITE.format(**names), client, port), (server, 5060))
        asked, source = callee.recvfrom(4096)
        via = _VIA.search(asked.decode().replace("\r", ""))
        callee.sendto(_message(_ACCEPTED.format(via=via[0] if via else "", **names), server, port), source)
        if not caller.recv(4096).startswith(b"SIP/2.0 200 "):
            raise RuntimeError("there is no call")
    return [caller, callee]


def _message(head: str, host: str, port: int) -> bytes:
    body = _SDP.format(host=host, port=port).replace("\n", "\r\n")
    head = f"{head}Content-Type: application/sdp\nContent-Length: {len(body)}\n\n".replace("\n", "\r\n")
    return (head + body).encode()


def _played(lab: Lab, ports: range) -> list[socket.socket]:
    """A stream for each port, which both ends have, all in one session."""
    server = str(lab.server.v4)
    with lab.server.inside():
        listener = socket.create_server((server, 554))
    with lab.client.inside(), listener:
        player = socket.create_connection((server, 554))
        camera, _ = listener.accept()
    for number, port in enumerate(ports, 1):
        transport = f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1}"
        begin = f"SETUP rtsp://{server}/live/{number} RTSP/1.0\r\nCSeq: {number}\r\n"
        player.sendall(f"{begin}{transport}\r\n{'Session: 1' if number > 1 else 'User-Agent: -'}\r\n\r\n".encode())
        _head(camera)
        granted = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{transport};server_port={port}-{port + 1}\r\n"
        camera.sendall(f"{granted}Session: 1\r\n\r\n".encode())
        if not _head(player).startswith(b"RTSP/1.0 200 "):
            raise RuntimeError("there is no stream")
    return [player, camera]


def _head(sock: socket.socket) -> bytes:
    """A message without a body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = sock.recv(4096)
        if not data:
            raise RuntimeError("the connection has ended")
        head += data
    return head


def run(effort: Packets, say: Progress) -> Report:
    """Build labs, measure, take them down. Raises RuntimeError when a packet is lost, or takes another path."""
    found: dict[str, dict[str, list[float]]] = {path: {SIP: [], RTSP: []} for path in PATHS}
    for path, kernel_path in PATHS.items():
        say(f"building a lab: {path}")
        with Lab("routed") as lab, pinhole(lab, POLICIES, kernel_path=kernel_path) as daemon:
            both = {SIP: Streams(lab, 20_000, _calls), RTSP: Streams(lab, 21_000, _played)}
            try:
                for streams in both.values():
                    streams.carry(BURST)  # the first of a stream is another matter
                carried = daemon.ask("status")["fastpath"].get("streams", 0)
                if carried != (len(both) * STREAMS if kernel_path != "off" else 0):
                    raise RuntimeError(f"{carried} streams pass in the kernel")
                for number in range(effort.rounds):
                    say(f"{path}: round {number + 1} of {effort.rounds}")
                    for helper in in_turn(tuple(both), number):
                        found[path][helper].append(_cost(daemon, both[helper], effort.packets))
            except OSError as error:
                raise RuntimeError(f"a packet was lost: {error}") from error
            finally:
                for streams in both.values():
                    streams.close()
    return Report(machine(), effort, found, [_bar(path, cpu) for path, cpu in found.items()])


def _cost(daemon: Daemon, streams: Streams, packets: int) -> float:
    """Seconds of CPU for a packet, of whoever carries it."""
    before = cpu_seconds(daemon.pid)
    sending = streams.carry(packets)
    own = cpu_seconds(daemon.pid) - before
    return (own if daemon.kernel_path == "off" else own + sending) / packets


def _bar(path: str, cpu: Mapping[str, list[float]]) -> Bar:
    """A difference counts that is seen in 95 of 100 draws."""
    low, high = interval([rtsp / sip for rtsp, sip in zip(cpu[RTSP], cpu[SIP], strict=True)])
    limit = f"at most {MOST_BESIDE_SIP:.2f} (with 95 % {low:.2f} to {high:.2f})"
    return Bar(f"packet of RTSP beside one of SIP, {path}", ratio(cpu[RTSP], cpu[SIP]), limit, low <= MOST_BESIDE_SIP)
