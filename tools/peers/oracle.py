"""An Oracle listener as far as the handshake goes, and python-oracledb as its client.

No Oracle server can be had for a test, and none is needed for what a gateway reads: the listener answers CONNECT with
RESEND, REDIRECT, REFUSE or ACCEPT. Facts that it follows: layouts of CONNECT (offset field at 26, long connect data in
a DATA packet), the 10-byte REDIRECT with a DATA packet behind it and its flags, the ACCEPT of version 319 that thin
drivers want, 32-bit lengths after it. That a client has got through is seen by its first packet after ACCEPT, which
names it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers import tns_packets
from tools.peers.tns_packets import data, packet

SECONDS = 20
DRIVERS = Path(__file__).parents[2] / ".cache" / "oracledb"
"""Where tools/setup puts versions of the driver besides the one in the environment."""
REDIRECTED = 0x04
NAME = b"python-oracledb"


def accept(options: int = 0x0801, flags2: int = 0) -> bytes:
    """SDU 8192, network services off, and nothing of urgent data."""
    return tns_packets.accept(options=options, flags2=flags2)


def redirect(where: bytes, connect_data: bytes, flags: int = 2, cut_at: int = 0) -> bytes:
    """As current servers send it: a header with the length, then the text in a DATA packet, or in two."""
    text = where + b"\0" + connect_data
    pieces = [text[:cut_at], text[cut_at:]] if cut_at else [text]
    return packet(5, len(text).to_bytes(2, "big"), flags) + b"".join(data(piece, 0x40) for piece in pieces)


Address = IPv4Address | IPv6Address
Answer = Callable[[bytes, bytes], bytes]
"""Of a CONNECT packet and its connect data."""


class Listener:
    """On a port of a host. What came after ACCEPT is in `got`; flags of the CONNECTs in `flags`.

    segment: how many bytes of an answer go out at once; 0 for all.
    """

    def __init__(self, host: Host, version: int, port: int, answer: Answer, segment: int = 0) -> None:
        self.at = (str(host.address(version)), port)
        self.got: list[bytes] = []
        self.flags: list[int] = []
        self.peers: list[str] = []
        self.urgent: list[bytes] = []
        self.heard = threading.Event()
        """Somebody has got through."""
        self._answer = answer
        self._segment = segment
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with host.inside():
            self._socket = socket.create_server(self.at, family=family)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = self._socket.accept()
                self.peers.append(peer[0])
                connection.settimeout(SECONDS)
                with connection, contextlib.suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connect = _read(connection)
        self.flags.append(connect[5])
        size, offset = (int.from_bytes(connect[at : at + 2], "big") for at in (24, 26))
        text = connect[offset : offset + size]
        while len(text) < size:
            text += _read(connection)[10:]
        answer = self._answer(connect, text)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        size = self._segment or len(answer)
        for at in range(0, len(answer), size):
            connection.sendall(answer[at : at + size])
        if answer[4] != 2:
            connection.settimeout(2)
            connection.recv(1)
            return
        length = int.from_bytes(_exactly(connection, 4), "big")
        self.got.append(_exactly(connection, length - 4))
        self.heard.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(SECONDS)


@contextlib.contextmanager
def listening(host: Host, version: int, port: int, answer: Answer, segment: int = 0) -> Iterator[Listener]:
    listener = Listener(host, version, port, answer, segment)
    try:
        yield listener
    finally:
        listener.close()


def _exactly(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            raise ConnectionError("the client has ended")
        got += more
    return got


def _read(connection: socket.socket) -> bytes:
    head = _exactly(connection, 8)
    return head + _exactly(connection, int.from_bytes(head[:2], "big") - 8)


# -- the client --------------------------------------------------------------------------------------------------------

_SCRIPT = """
import asyncio, sys
sys.path[:0] = sys.argv[4:]
import oracledb
async def wait():
    await oracledb.connect_async(**arguments)
arguments = dict(user="scott", password="tiger", host=sys.argv[1], port=int(sys.argv[2]), service_name="svc",
                 tcp_connect_timeout=10)
print(oracledb.__version__, flush=True)
try:
    asyncio.run(wait()) if sys.argv[3] == "asyncio" else oracledb.connect(**arguments)
except oracledb.Error as error:
    print(error)
"""


def has_driver() -> bool:
    """Whether the environment has one."""
    return importlib.util.find_spec("oracledb") is not None


def drivers() -> tuple[str, ...]:
    """Versions that are here: the environment's own is empty."""
    return ("", *sorted(path.name for path in DRIVERS.glob("*") if path.is_dir()))


def connect(
    host: Host,
    to: Address,
    port: int,
    mode: str,
    driver: str = "",
    until: threading.Event | None = None,
    seconds: int = SECONDS,
) -> str:
    """Logs in, as far as that goes, and returns what the driver says of it.

    until: it is ended when this has come, since an old one may wait for ever for what a real server would say next.
    """
    path = [str(DRIVERS / driver)] if driver else []
    command = [sys.executable, "-c", _SCRIPT, str(to), str(port), mode, *path]
    process = host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    heard = until or threading.Event()
    for _ in range(seconds * 20):
        if heard.wait(0.05) or process.poll() is not None:
            break
    process.terminate()
    said, _ = process.communicate(timeout=SECONDS)
    return str(said)
