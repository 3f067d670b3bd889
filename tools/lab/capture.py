"""Packets as tcpdump sees them, from a known beginning to a known end: the TCP conversations and the datagrams."""

from __future__ import annotations

import os
import queue
import socket
import struct
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

_MARKER = 0x88B5
"""EtherType for local experiments (IEEE 802). A frame of it shows that everything sent before has been read."""
_NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
"""Bridges do not forward frames to this address (IEEE 802.1Q)."""
_SECONDS = 60.0
"""For tcpdump to read what has passed, whatever else the machine has to do."""
_GLOBAL_HEADER, _RECORD_HEADER = struct.Struct("=IHHiIII"), struct.Struct("=IIII")
_FIN, _SYN, _ACK = 0x01, 0x02, 0x10


class Station(Protocol):
    """The host whose interface is watched."""

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]: ...

    def inside(self) -> AbstractContextManager[None]: ...


class Capture:
    """A running tcpdump. Entered, it surely captures; `collect()` returns every frame up to its own call."""

    def __init__(self, host: Station, interface: str, filter: str, path: Path | None) -> None:
        self._host = host
        self._interface = interface
        self._filter = filter
        self._path = path
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def __enter__(self) -> Capture:
        command = ["tcpdump", "-i", self._interface, "-Z", "root", "-U", "-n", "-p", "--immediate-mode", "-B", "32768"]
        command += ["-w", "-", f"ether proto {_MARKER:#x} or ({self._filter})" if self._filter else ""]
        self._tcpdump = self._host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._tcpdump.stdout and self._tcpdump.stderr
        said = b""
        while b"listening on" not in said:
            line = self._tcpdump.stderr.readline()
            if not line:
                raise RuntimeError(f"tcpdump does not start: {said.decode(errors='replace')}")
            said += line
        self._reader = threading.Thread(target=self._read, args=(self._tcpdump.stdout,), name="capture", daemon=True)
        self._reader.start()
        return self

    def _read(self, stream: IO[bytes]) -> None:
        copy = self._path.open("wb") if self._path else None
        header = stream.read(_GLOBAL_HEADER.size)
        if copy:
            copy.write(header)
        while len(header := stream.read(_RECORD_HEADER.size)) == _RECORD_HEADER.size:
            frame = stream.read(_RECORD_HEADER.unpack(header)[2])
            if copy:
                copy.write(header + frame)
            self._frames.put(frame)
        self._frames.put(None)
        if copy:
            copy.close()

    def collect(self) -> list[bytes]:
        """The Ethernet frames since the beginning or the last call, as they came."""
        mark = os.urandom(16)
        with self._host.inside():
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sender:
            sender.bind((self._interface, 0))
            sender.send(_NEAREST_BRIDGE + bytes(6) + _MARKER.to_bytes(2, "big") + mark)
        frames = []
        while True:
            frame = self._frames.get(timeout=_SECONDS)
            if frame is None:
                raise RuntimeError("tcpdump ended")
            if frame[12:14] != _MARKER.to_bytes(2, "big"):
                frames.append(frame)
            elif mark in frame:
                return frames

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        try:
            self.collect()
        finally:
            self._tcpdump.terminate()
            assert self._tcpdump.stderr and self._tcpdump.stdout
            said = self._tcpdump.stderr.read().decode(errors="replace")
            self._reader.join(_SECONDS)
            self._tcpdump.wait()
            self._tcpdump.stderr.close()
            self._tcpdump.stdout.close()
        if "\n0 packets dropped by kernel" not in said:
            raise RuntimeError(f"the capture is not complete: {said}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment. `source` and `destination` are address and port."""

    source: tuple[IPv4Address | IPv6Address, int]
    destination: tuple[IPv4Address | IPv6Address, int]
    sequence: int
    flags: int
    payload: bytes


def _packets(frames: Iterable[bytes], protocol: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Source, destination, and what IP carries, of the packets of one protocol. Fragments and IPv6 extension headers do
    not occur in the lab."""
    for frame in frames:
        kind = frame[12:14]
        if kind == b"\x08\x00" and frame[23] == protocol:
            at, end = 14 + (frame[14] & 15) * 4, 14 + int.from_bytes(frame[16:18], "big")
            yield frame[26:30], frame[30:34], frame[at:end]
        elif kind == b"\x86\xdd" and frame[20] == protocol:
            yield frame[22:38], frame[38:54], frame[54 : 54 + int.from_bytes(frame[18:20], "big")]


def segments(frames: Iterable[bytes]) -> Iterator[Segment]:
    """The TCP segments among Ethernet frames."""
    for source, destination, data in _packets(frames, socket.IPPROTO_TCP):
        from_port, to_port, sequence, _, offset, flags = struct.unpack_from(">HHIIBB", data)
        yield Segment(
            (ip_address(source), from_port),
            (ip_address(destination), to_port),
            sequence,
            flags,
            data[(offset >> 4) * 4 :],
        )


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram. `source` and `destination` are address and port."""

    source: tuple[IPv4Address | IPv6Address, int]
    destination: tuple[IPv4Address | IPv6Address, int]
    payload: bytes


def datagrams(frames: Iterable[bytes]) -> list[Datagram]:
    """The UDP datagrams among Ethernet frames, in order."""
    return [
        Datagram(
            (ip_address(source), int.from_bytes(data[:2], "big")),
            (ip_address(destination), int.from_bytes(data[2:4], "big")),
            data[8:],
        )
        for source, destination, data in _packets(frames, socket.IPPROTO_UDP)
    ]


@dataclass(slots=True)
class Conversation:
    """A TCP connection as it was seen on the wire."""

    client: tuple[IPv4Address | IPv6Address, int]
    server: tuple[IPv4Address | IPv6Address, int]
    from_client: bytes = b""
    from_server: bytes = b""


@dataclass(slots=True)
class _Direction:
    first: int
    """Sequence number of the first byte."""
    parts: dict[int, bytes] = field(default_factory=dict)

    def add(self, sequence: int, payload: bytes) -> None:
        at = (sequence - self.first) % 2**32
        if payload and len(payload) > len(self.parts.get(at, b"")):
            self.parts[at] = payload

    def stream(self) -> bytes:
        out = b""
        for at, payload in sorted(self.parts.items()):
            if at > len(out):
                raise ValueError(f"bytes {len(out)} to {at} are missing")
            out += payload[len(out) - at :]
        return out


def conversations(frames: Sequence[bytes], port: int | None = None) -> list[Conversation]:
    """The TCP connections that begin in these frames (to this port), in order. ValueError when bytes are missing."""
    found: list[Conversation] = []
    streams: list[tuple[_Direction, _Direction | None]] = []
    current: dict[tuple[object, object], int] = {}
    for segment in segments(frames):
        there, back = (segment.source, segment.destination), (segment.destination, segment.source)
        begins = segment.flags & (_SYN | _ACK) == _SYN
        first = (segment.sequence + 1) % 2**32
        if begins and port in (None, segment.destination[1]):
            if there not in current or streams[current[there]][0].first != first:
                current[there] = len(found)
                found.append(Conversation(segment.source, segment.destination))
                streams.append((_Direction(first), None))
        elif there in current:
            streams[current[there]][0].add(segment.sequence, segment.payload)
        elif back in current:
            to_server, to_client = streams[current[back]]
            if segment.flags & _SYN:
                to_client = to_client or _Direction(first)
                streams[current[back]] = (to_server, to_client)
            elif to_client:
                to_client.add(segment.sequence, segment.payload)
    for conversation, (to_server, to_client) in zip(found, streams, strict=True):
        conversation.from_client = to_server.stream()
        conversation.from_server = to_client.stream() if to_client else b""
    return found
