"""Packets as fast as one thread can send them: `python -m tools.bench.flood` on a host takes orders (orders.py).

Each packet is a frame that was made before, so that the thread does little but cross the kernel, and the CPU that it
takes is mostly that of whatever carries its packets: where hosts are namespaces of one machine, the kernel forwards a
packet in the context of its sender.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.harness.kernel_path import ETHERTYPES, packet
from tools.bench.orders import take_orders

PAYLOAD = bytes(172)
"""RTP with 20 ms of G.711."""
AT_ONCE = 512


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


class Flood:
    """Sets of packets, each with a name, one packet for each stream."""

    def __init__(self) -> None:
        self._sets: dict[str, _Set] = {}
        self._cpu = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {self._cpu})

    def prepare(self, name: str, interface: str, mac: str, streams: list[list[Any]]) -> dict[str, Any]:
        """`streams` has source host and port, and destination host and port, of each; `mac` is the next hop's."""
        self._sets[name] = _Set(interface, bytes.fromhex(mac.replace(":", "")), streams)
        return {}

    def send(self, name: str, packets: int) -> dict[str, Any]:
        """So many packets of that set, round and round the streams. Returns the CPU that they took: of this thread, and
        of the one that the kernel leaves its work to when there is much of it."""
        helped = _kernel_thread_seconds(self._cpu)
        began, wall = time.thread_time(), time.monotonic()
        self._sets[name].send(packets)
        spent, took = time.thread_time() - began, time.monotonic() - wall
        return {"cpu": spent + _kernel_thread_seconds(self._cpu) - helped, "seconds": took}


class _Set:
    def __init__(self, interface: str, mac: bytes, streams: list[list[Any]]) -> None:
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._sock.bind((interface, 0))
        head = mac + bytes(self._sock.getsockname()[4])
        frames = [
            head + ETHERTYPES[6 if ":" in source else 4] + packet((source, port), (to, to_port), PAYLOAD)
            for source, port, to, to_port in streams
        ]
        self._frames = ctypes.create_string_buffer(b"".join(frames))
        at, self._count = ctypes.addressof(self._frames), len(frames)
        self._pieces = (_Piece * self._count)()
        self._messages = (_Message * self._count)()
        for number, frame in enumerate(frames):
            self._pieces[number] = _Piece(at, len(frame))
            at += len(frame)
            piece = ctypes.addressof(self._pieces) + number * ctypes.sizeof(_Piece)
            self._messages[number] = _Message(pieces=piece, count=1)
        self._at = 0

    def send(self, packets: int) -> None:
        descriptor, first, size = self._sock.fileno(), ctypes.addressof(self._messages), ctypes.sizeof(_Message)
        while packets:
            some = min(AT_ONCE, self._count - self._at, packets)
            done = self._send(descriptor, ctypes.c_void_p(first + self._at * size), some, 0)
            if done < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            packets -= done
            self._at = (self._at + done) % self._count


def _kernel_thread_seconds(cpu: int) -> float:
    """CPU so far of the thread that does what is left of a processor's interrupts."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        if path.read_text() == f"ksoftirqd/{cpu}\n":
            return int(path.with_name("schedstat").read_text().split()[0]) / 1e9
    return 0.0


if __name__ == "__main__":
    take_orders(partial(getattr, Flood()))
