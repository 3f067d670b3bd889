"""Who asks on the control socket, and what he may do: look, or also change.

The kernel says who it is (SO_PEERCRED, SO_PEERGROUPS). Without groups in the configuration, whoever may open the socket
may do both: its owner and its group. With groups, everybody may open it, and is judged here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from proxy.control.routes import Peer, Right

SO_PEERGROUPS = 59
"""From asm-generic/socket.h."""
MOST_GROUPS = 256
"""Python asks the kernel for no more. Whoever is in more groups is judged by his first one alone."""

NOBODY = Peer(-1, -1, 0)


@dataclass(frozen=True, slots=True)
class Rights:
    """What each peer may do. None: no group was named for that."""

    look: int | None = None
    change: int | None = None

    @property
    def are_for_all(self) -> bool:
        """Whether the file of the socket decides, and nobody is judged here."""
        return self.look is None and self.change is None

    def of(self, peer: Peer, groups: Collection[int]) -> frozenset[Right]:
        """What a peer with these groups may do."""
        if self.are_for_all or peer.uid in (0, os.geteuid()):
            return frozenset(Right)
        if self.change in groups:
            return frozenset(Right)
        looks = self.look if self.look is not None else os.getegid()
        return frozenset((Right.LOOK,)) if looks in groups else frozenset()


def peer_of(transport: Any) -> tuple[Peer, Collection[int]]:
    """Who is at the other end of a transport, and his groups. A peer that is gone is nobody."""
    sock = None if transport is None else transport.get_extra_info("socket")
    return (NOBODY, ()) if sock is None or sock.family != socket.AF_UNIX else peer_at(sock)


def peer_at(sock: Any) -> tuple[Peer, Collection[int]]:
    """Who is at the other end of a UNIX socket, and his groups."""
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = b""
    with contextlib.suppress(OSError):
        groups = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    return Peer(uid, gid, pid), {gid, *struct.unpack(f"{len(groups) // 4}I", groups)}
