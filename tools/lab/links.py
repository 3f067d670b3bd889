"""When new links carry packets."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from collections.abc import Iterable

from tools.lab.host import inside

_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_REQUEST = struct.Struct("16sH14x")


def wait_until_up(netns: Iterable[str], seconds: float = 60) -> None:
    """Wait until all links in these network namespaces carry packets.

    The kernel takes a new link into use a moment after its other end is up. What is sent before is lost, and with IPv6
    the next neighbour solicitation comes a second later.
    Raises RuntimeError when a link stays down.
    """
    end = time.monotonic() + seconds
    for name in netns:
        with inside(name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while waiting := [link for _, link in socket.if_nameindex() if _is_waiting(sock, link)]:
                if time.monotonic() > end:
                    raise RuntimeError(f"links in {name} stay down: {', '.join(waiting)}")
                time.sleep(0.005)


def _is_waiting(sock: socket.socket, link: str) -> bool:
    """Whether it was set up and is not in use yet (netdevice(7))."""
    answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, _REQUEST.pack(link.encode(), 0))
    _, flags = _REQUEST.unpack(answer)
    return bool(flags & _IFF_UP) and not flags & _IFF_RUNNING
