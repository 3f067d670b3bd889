"""A link of a lab that loses, repeats and delays what goes over it, for kernels without netem as well.

A host's link is taken out of its segment; frames pass by way of this process instead, which does as chance tells it.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import select
import socket
import threading
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass

from tools.lab.lab import Lab
from tools.lab.links import wait_until_up

_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
_ETH_P_ALL = 3
_MAX_FRAME = 1 << 17
_UDP = 17


@dataclass(slots=True)
class Fate:
    """What becomes of datagrams; shares of 1. All else passes as it comes."""

    lost: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    """Those that others overtake."""
    delay_seconds: float = 0.03
    """At most."""
    lost_ones: Set[int] = frozenset()
    """Datagrams that are lost whatever chance says, by their number, counted from 1 over both directions."""


@dataclass(slots=True)
class Counts:
    passed: int = 0
    datagrams: int = 0
    lost: int = 0
    doubled: int = 0
    delayed: int = 0


@contextlib.contextmanager
def bad_link(lab: Lab, link: str, fate: Fate, chance: random.Random) -> Iterator[Counts]:
    """link: as the gateway names it, `lan0-0` for the client's, `wan0-0` for the server's. What happened is counted."""
    bridge = link.partition("-")[0]
    near, far = (f"{end}_{link.replace('-', '_')}" for end in ("bad", "end"))
    with lab.gateway.inside():
        lab.gateway.run(["ip", "link", "add", near, "type", "veth", "peer", "name", far])
        lab.gateway.run(["ip", "link", "set", link, "nomaster"])
        lab.gateway.run(["ip", "link", "set", far, "master", bridge, "up"])
        lab.gateway.run(["ip", "link", "set", near, "up"])
        wait_until_up([lab.gateway.netns])
        # What has been read here goes no further by itself: the link's address may be that of the segment.
        chains = "".join(
            f"chain {number} {{ type filter hook ingress device {name} priority 0; policy drop; }}\n"
            for number, name in (("from_host", link), ("from_segment", near))
        )
        lab.firewall(f"table netdev {near} {{\n{chains}}}\n")
        ends = [_raw(link), _raw(near)]
    counts = Counts()
    over, stop = os.pipe()
    thread = threading.Thread(target=_pass, args=(ends, over, fate, chance, counts), name=f"bad-{link}")
    thread.start()
    try:
        yield counts
    finally:
        os.close(stop)
        thread.join()
        for end in ends:
            end.close()
        os.close(over)
        lab.gateway.run(["nft", "delete", "table", "netdev", near])
        lab.gateway.run(["ip", "link", "del", near])
        lab.gateway.run(["ip", "link", "set", link, "master", bridge])


def _raw(link: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
    # Checksums that the sender has left to its card are still to be made: that is said in a header before the frame.
    sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind((link, 0))
    return sock


def _pass(ends: list[socket.socket], over: int, fate: Fate, chance: random.Random, counts: Counts) -> None:
    waiting: list[tuple[float, int, socket.socket, bytes]] = []
    numbers = itertools.count()
    ways = {ends[0].fileno(): (ends[0], ends[1]), ends[1].fileno(): (ends[1], ends[0])}
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([*ways, over], [], [], left)
        # Whoever has sent the last word of a conversation may have gone before it has passed here.
        is_over = over in readable
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(waiting)
            _send(end, frame)
        for sock, end in ways.values() if is_over else (ways[descriptor] for descriptor in readable):
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame = sock.recv(_MAX_FRAME)
                    for seconds in _delays(frame, fate, chance, counts):
                        if seconds and not is_over:
                            heapq.heappush(waiting, (time.monotonic() + seconds, next(numbers), end, frame))
                        else:
                            _send(end, frame)
        if is_over:
            for _, _, end, frame in sorted(waiting, key=lambda one: one[:2]):
                _send(end, frame)
            return


def _send(end: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # full, as any link may be
        end.send(frame)


def _delays(frame: bytes, fate: Fate, chance: random.Random, counts: Counts) -> list[float]:
    """When it is to go out, each time."""
    counts.passed += 1
    at = 10  # behind the header of virtio
    kind = frame[at + 12 : at + 14]
    protocol = frame[at + 23] if kind == b"\x08\x00" else frame[at + 20] if kind == b"\x86\xdd" else 0
    if protocol != _UDP:
        return [0.0]
    counts.datagrams += 1
    if counts.datagrams in fate.lost_ones or chance.random() < fate.lost:
        counts.lost += 1
        return []
    delays = [0.0]
    if chance.random() < fate.doubled:
        counts.doubled += 1
        delays.append(chance.random() * fate.delay_seconds)
    if chance.random() < fate.delayed:
        counts.delayed += 1
        delays[0] = chance.random() * fate.delay_seconds
    return delays
