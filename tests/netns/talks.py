"""One transfer, one call, one database session through a gateway, in either IP version: small scripted parties for
tests that do the same thing many times, where ordinary programs would take longer to start than to finish.

Each raises OSError (time-outs above all) or AssertionError when it does not go well.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import BinaryIO

from tests.netns.connections import read_all
from tests.netns.tns_talk import read_connect
from tools.lab import Host
from tools.peers.tns_packets import accept, connect

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Way:
    """Who talks to whom."""

    client: Host
    server: Host
    version: int
    seconds: float = 20.0
    """The longest wait for what should come."""
    stands_on: Address | None = None
    """The server's address; None: its first one."""
    known_as: Address | None = None
    """What the client dials; None: the server's address."""

    @property
    def serving(self) -> Address:
        return self.stands_on or self.server.address(self.version)

    @property
    def dialled(self) -> Address:
        return self.known_as or self.serving

    def address(self, host: Host) -> Address:
        return self.serving if host is self.server else host.address(self.version)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _listen(way: Way, host: Host, port: int) -> socket.socket:
    address = way.address(host)
    with host.inside():
        listener = socket.create_server((str(address), port), family=_family(address))
    listener.settimeout(way.seconds)
    return listener


def _dial(way: Way, host: Host, to: str, port: int) -> socket.socket:
    with host.inside():
        return socket.create_connection((to, port), way.seconds, (str(way.address(host)), 0))


def _whole(sock: socket.socket) -> int:
    """How many bytes come until the end."""
    count = 0
    while data := sock.recv(1 << 16):
        count += len(data)
    return count


@contextlib.contextmanager
def _beside(what: object) -> Iterator[None]:
    """A server's side in a thread of its own; what it raises is raised at the end."""
    assert callable(what)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(what)
        yield
        done.result()


# -- FTP ---------------------------------------------------------------------------------------------------------------


def _serve_ftp(way: Way, listener: socket.socket, payload: bytes) -> None:
    """One control connection with one transfer, by EPSV or EPRT (RFC 2428). Others that come before it say nothing: a
    gateway may still be dialling for a client that has given up."""
    first = b""
    while not first:
        control, _ = listener.accept()
        with control, control.makefile("rb") as lines:
            control.settimeout(way.seconds)
            with contextlib.suppress(ConnectionError):
                control.sendall(b"220 ready\r\n")
                first = lines.readline()
            if first:
                _serve_control(way, control, itertools.chain((first,), lines), payload)


def _serve_control(way: Way, control: socket.socket, lines: Iterable[bytes], payload: bytes) -> None:
    waiting: socket.socket | None = None
    named = ("", 0)
    with contextlib.ExitStack() as stack:
        for line in lines:
            verb, _, argument = line.decode().strip().partition(" ")
            match verb:
                case "USER":
                    control.sendall(b"230 in\r\n")
                case "EPSV":
                    waiting = stack.enter_context(_listen(way, way.server, 0))
                    control.sendall(f"229 ok (|||{waiting.getsockname()[1]}|)\r\n".encode())
                case "EPRT":
                    _, _, host, port, _ = argument.split("|")
                    named = (host, int(port))
                    control.sendall(b"200 ok\r\n")
                case "RETR" | "STOR":
                    control.sendall(b"150 here it comes\r\n")
                    data = waiting.accept()[0] if waiting else _dial(way, way.server, *named)
                    data.settimeout(way.seconds)
                    with data:
                        if verb == "RETR":
                            data.sendall(payload)
                        else:
                            assert _whole(data) == len(payload)
                    if waiting:
                        waiting.close()
                    control.sendall(b"226 done\r\n")
                case "QUIT":
                    control.sendall(b"221 bye\r\n")
                    return


def _reply(lines: BinaryIO, code: bytes) -> bytes:
    line = lines.readline()
    assert line.startswith(code), f"{line!r} instead of {code!r}"
    return line


def transfer(way: Way, *, active: bool, upload: bool = False, size: int = 20_000) -> None:
    """A file by a data connection that the server dials (`active`) or the client."""
    payload = bytes(size)
    with _listen(way, way.server, 21) as listener, _beside(lambda: _serve_ftp(way, listener, payload)):
        control = _dial(way, way.client, str(way.dialled), 21)
        with control, control.makefile("rb") as lines:
            _reply(lines, b"220")
            control.sendall(b"USER anonymous\r\n")
            _reply(lines, b"230")
            with contextlib.ExitStack() as stack:
                if active:
                    waiting = stack.enter_context(_listen(way, way.client, 0))
                    kind, own = 1 if way.version == 4 else 2, way.address(way.client)
                    control.sendall(f"EPRT |{kind}|{own}|{waiting.getsockname()[1]}|\r\n".encode())
                    _reply(lines, b"200")
                else:
                    control.sendall(b"EPSV\r\n")
                    port = int(_reply(lines, b"229").rpartition(b"|||")[2].partition(b"|")[0])
                    data = stack.enter_context(_dial(way, way.client, str(way.dialled), port))
                control.sendall(b"STOR f\r\n" if upload else b"RETR f\r\n")
                _reply(lines, b"150")
                if active:
                    data = stack.enter_context(waiting.accept()[0])
                data.settimeout(way.seconds)
                if upload:
                    data.sendall(payload)
                    data.shutdown(socket.SHUT_WR)
                    assert data.recv(1) == b""
                else:
                    assert _whole(data) == size
            _reply(lines, b"226")
            control.sendall(b"QUIT\r\n")
            _reply(lines, b"221")


# -- Oracle TNS --------------------------------------------------------------------------------------------------------


def database(way: Way, *, upload: bool, size: int = 20_000) -> None:
    """A session that is accepted, and then data in one direction."""
    payload = bytes(size)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(way.seconds)
            read_connect(connection)
            connection.sendall(accept())
            if upload:
                assert _whole(connection) == size
            else:
                connection.sendall(payload)

    with (
        _listen(way, way.server, 1521) as listener,
        _beside(serve),
        _dial(way, way.client, str(way.dialled), 1521) as client,
    ):
        client.sendall(connect())
        read_all(client, len(accept()))
        if upload:
            client.sendall(payload)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        else:
            assert _whole(client) == size


# -- SIP ---------------------------------------------------------------------------------------------------------------

REPEAT_SECONDS = 0.3
"""Until a datagram is sent again that nobody has answered."""
RTP = bytes((0x80, 0, 0, 1)) + bytes(8) + b"voice " * 25


def _brackets(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _description(address: Address, port: int, padding: int) -> str:
    lines = [
        "v=0",
        f"o=- 1 1 IN IP{address.version} {address}",
        "s=-",
        f"c=IN IP{address.version} {address}",
        "t=0 0",
        f"m=audio {port} RTP/AVP 0",
        *(f"a=x-padding:{'x' * 50}" for _ in range(padding // 64)),
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _fields(text: str, *names: str) -> list[str]:
    return [line for line in text.split("\r\n\r\n")[0].split("\r\n")[1:] if line.partition(":")[0] in names]


def _media_of(text: str) -> tuple[str, int]:
    """Where a description says that media goes."""
    body = text.partition("\r\n\r\n")[2].split("\r\n")
    host = next(line.split()[2] for line in body if line.startswith("c="))
    return host, int(next(line.split()[1] for line in body if line.startswith("m=")))


class _Party:
    """A phone, for one call: what it says it is, its socket for media, and its signalling over UDP or TCP."""

    def __init__(self, way: Way, host: Host, signalling: socket.socket, peer: tuple[str, int] | None) -> None:
        self.address = way.address(host)
        self.signalling, self._peer = signalling, peer
        signalling.settimeout(way.seconds)
        with host.inside():
            self.media = socket.socket(_family(self.address), socket.SOCK_DGRAM)
        self.media.bind((str(self.address), 0))
        self.media.settimeout(way.seconds)
        self._is_stream = signalling.type == socket.SOCK_STREAM
        self._read = b""
        self._sent, self._heard = b"", b""
        self.other: _Party | None = None
        self._repeats = int(way.seconds / REPEAT_SECONDS)

    def close(self) -> None:
        self.media.close()
        self.signalling.close()

    @property
    def contact(self) -> str:
        return f"Contact: <sip:x@{_brackets(self.address)}:5060{';transport=tcp' if self._is_stream else ''}>"

    def send(self, first: str, fields: list[str], body: str = "") -> None:
        more = ["Content-Type: application/sdp"] if body else []
        head = [first, *fields, *more, f"Content-Length: {len(body)}", "", ""]
        data = ("\r\n".join(head) + body).encode()
        self._sent = data
        self.repeat()

    def repeat(self) -> None:
        if self._is_stream:
            self.signalling.sendall(self._sent)
        else:
            assert self._peer
            self.signalling.sendto(self._sent, self._peer)

    def hear(self) -> str:
        return self._hear_stream() if self._is_stream else self._hear_datagram()

    def _hear_datagram(self) -> str:
        """What does not come is said again by the other party (RFC 3261 s.17): a datagram that is too long for the way
        is lost before anybody knows how long they may be."""
        self.signalling.settimeout(REPEAT_SECONDS)
        for _ in range(self._repeats):
            try:
                data, source = self.signalling.recvfrom(65536)
            except TimeoutError:
                assert self.other
                self.other.repeat()
                continue
            if data != self._heard:
                self._peer, self._heard = source[:2], data
                return data.decode()
        raise TimeoutError("no datagram came")

    def _hear_stream(self) -> str:
        while True:
            head, blank, rest = self._read.partition(b"\r\n\r\n")
            if blank:
                length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
                if len(rest) >= length:
                    self._read = rest[length:]
                    return (head + blank + rest[:length]).decode()
            data = self.signalling.recv(65536)
            assert data, "the connection has ended"
            self._read += data

    def description(self, padding: int) -> str:
        return _description(self.address, self.media.getsockname()[1], padding)


def _answer(callee: _Party, request: str, padding: int) -> None:
    is_invite = request.startswith("INVITE")
    to = [line if ";tag=" in line else f"{line};tag=callee" for line in _fields(request, "To")]
    fields = [*_fields(request, "Via", "From", "Call-ID", "CSeq"), *to, callee.contact]
    callee.send("SIP/2.0 200 OK", fields, callee.description(padding) if is_invite else "")


def _signalling(way: Way, transport: str) -> tuple[_Party, _Party, socket.socket | None]:
    """Caller and callee; over TCP the second party's socket is the accepted one."""
    at = (str(way.dialled), 5060)
    if transport == "tcp":
        listener = _listen(way, way.server, 5060)
        dialled = _dial(way, way.client, *at)
        return _Party(way, way.client, dialled, None), _Party(way, way.server, listener.accept()[0], None), listener
    found = []
    for host in (way.client, way.server):
        with host.inside():
            sock = socket.socket(_family(way.dialled), socket.SOCK_DGRAM)
        sock.bind((str(way.address(host)), 5060))
        found.append(sock)
    return _Party(way, way.client, found[0], at), _Party(way, way.server, found[1], None), None


def call(way: Way, number: int, *, transport: str = "udp", padding: int = 0) -> None:
    """INVITE, 200, ACK, media both ways, BYE, 200. number: another one for each call. padding: bytes that descriptions
    are longer by."""
    caller, callee, listener = _signalling(way, transport)
    caller.other, callee.other = callee, caller
    where = f"sip:callee@{_brackets(way.dialled)}"

    def request(method: str, cseq: int, tag: str = "") -> list[str]:
        return [
            f"Via: SIP/2.0/{transport.upper()} {_brackets(caller.address)}:5060;branch=z9hG4bK{number}{method}",
            "Max-Forwards: 70",
            "From: <sip:caller@example.org>;tag=caller",
            f"To: <{where}>{tag}",
            f"Call-ID: call-{number}@example.org",
            f"CSeq: {cseq} {method}",
            caller.contact,
        ]

    try:
        caller.send(f"INVITE {where} SIP/2.0", request("INVITE", 1), caller.description(padding))
        offer = callee.hear()
        _answer(callee, offer, padding)
        answer = caller.hear()
        assert answer.startswith("SIP/2.0 200"), answer
        caller.send(f"ACK {where} SIP/2.0", request("ACK", 1, ";tag=callee"))
        assert callee.hear().startswith("ACK")
        for _ in range(2):  # what comes after the first packet may pass in the kernel
            caller.media.sendto(RTP, _media_of(answer))
            assert callee.media.recv(2000) == RTP
            callee.media.sendto(RTP, _media_of(offer))
            assert caller.media.recv(2000) == RTP
        caller.send(f"BYE {where} SIP/2.0", request("BYE", 2, ";tag=callee"))
        bye = callee.hear()
        assert bye.startswith("BYE")
        _answer(callee, bye, 0)
        assert caller.hear().startswith("SIP/2.0 200")
    finally:
        caller.close()
        callee.close()
        if listener is not None:
            listener.close()
