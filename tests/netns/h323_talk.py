"""Two ends of call signalling with a gateway between, whose messages pycrate writes: what they say is up to a test."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Any

import pytest

from protocols.h323 import wire
from protocols.h323.wire import Kind
from tests.harness.h323_oracle import VERSION, At, decoded, encoded
from tools.lab import Daemon, Host, Lab

PORT = 1720
SECONDS = 20.0
"""How long whatever must come is waited for: on a busy machine a daemon may be late by some seconds."""
REFUSED_SECONDS = 0.3
"""How long a connection or a datagram is waited for that is not let through."""
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
"""By the version of IP."""
_calls = itertools.count(1000)


def unicast(at: At) -> tuple[str, Any]:
    """An address as H.245 has it."""
    host = ip_address(at[0])
    name = "iPAddress" if host.version == 4 else "iP6Address"
    return "unicastAddress", (name, {"network": host.packed, "tsapIdentifier": at[1]})


# -- messages ----------------------------------------------------------------------------------------------------------


def packet(kind: Kind, body: tuple[str, Any], *control: Any, is_from_callee: bool = False, reference: int = 1) -> bytes:
    """A message of call signalling. control: messages of H.245 that it carries."""
    inner: dict[str, Any] = {"h323-message-body": body, "h245Tunnelling": bool(control)}
    if control:
        inner["h245Control"] = list(control)
    user = b"\x05" + encoded("UserInformation", {"h323-uu-pdu": inner})
    value = reference | (0x8000 if is_from_callee else 0)
    message = b"\x08\x02" + value.to_bytes(2, "big") + bytes((kind, 0x7E)) + len(user).to_bytes(2, "big") + user
    return tpkt(message)


def tpkt(message: bytes) -> bytes:
    return b"\x03\x00" + (len(message) + wire.HEADER_BYTES).to_bytes(2, "big") + message


def setup(call: int = 1, control: Sequence[Any] = (), **more: Any) -> bytes:
    """A Setup. more: components besides those that each has."""
    body = {
        "protocolIdentifier": VERSION,
        "sourceInfo": {"mc": False, "undefinedNode": False},
        "activeMC": False,
        "conferenceID": bytes(16),
        "conferenceGoal": ("create", 0),
        "callType": ("pointToPoint", 0),
        "callIdentifier": {"guid": call.to_bytes(16, "big")},
        "mediaWaitForConnect": False,
        "canOverlapSend": False,
    }
    return packet(Kind.SETUP, ("setup", body | more), *control, reference=call)


def connect(call: int = 1, **more: Any) -> bytes:
    body = {
        "protocolIdentifier": VERSION,
        "destinationInfo": {"mc": False, "undefinedNode": False},
        "conferenceID": bytes(16),
        "callIdentifier": {"guid": call.to_bytes(16, "big")},
    }
    return packet(Kind.CONNECT, ("connect", body | more), is_from_callee=True, reference=call)


def facility(reason: str, *control: Any, is_from_callee: bool, call: int = 1, **more: Any) -> bytes:
    body = {"protocolIdentifier": VERSION, "reason": (reason, 0), "callIdentifier": {"guid": call.to_bytes(16, "big")}}
    return packet(Kind.FACILITY, ("facility", body | more), *control, is_from_callee=is_from_callee, reference=call)


def release(call: int = 1) -> bytes:
    body = {"protocolIdentifier": VERSION, "callIdentifier": {"guid": call.to_bytes(16, "big")}}
    return packet(Kind.RELEASE_COMPLETE, ("releaseComplete", body), reference=call)


def open_channel(number: int, control: At | None, media: At | None = None) -> tuple[str, Any]:
    """An openLogicalChannel for audio."""
    parameters: dict[str, Any] = {"sessionID": 1}
    if media is not None:
        parameters["mediaChannel"] = unicast(media)
    if control is not None:
        parameters["mediaControlChannel"] = unicast(control)
    forward = {
        "dataType": ("audioData", ("g711Ulaw64k", 20)),
        "multiplexParameters": ("h2250LogicalChannelParameters", parameters),
    }
    value = {"forwardLogicalChannelNumber": number, "forwardLogicalChannelParameters": forward}
    return "request", ("openLogicalChannel", value)


def t120(number: int, at: At) -> tuple[str, Any]:
    """An openLogicalChannel for T.120 data, which its sender waits for."""
    data = {"application": ("t120", ("separateLANStack", 0)), "maxBitRate": 1000}
    both = {
        "dataType": ("data", data),
        "multiplexParameters": ("h2250LogicalChannelParameters", {"sessionID": 3}),
    }
    value = {
        "forwardLogicalChannelNumber": number,
        "forwardLogicalChannelParameters": both,
        "reverseLogicalChannelParameters": both,
        "separateStack": {"networkAddress": ("localAreaAddress", unicast(at)), "associateConference": False},
    }
    return "request", ("openLogicalChannel", value)


def acknowledge(number: int, media: At, control: At) -> tuple[str, Any]:
    """An openLogicalChannelAck."""
    parameters = {"sessionID": 1, "mediaChannel": unicast(media), "mediaControlChannel": unicast(control)}
    value = {
        "forwardLogicalChannelNumber": number,
        "forwardMultiplexAckParameters": ("h2250LogicalChannelAckParameters", parameters),
    }
    return "response", ("openLogicalChannelAck", value)


def body_of(message: bytes) -> dict[str, Any]:
    """What a message of call signalling says."""
    user = wire.read_signal(message).user
    assert user is not None
    value = decoded("UserInformation", message[user.start : user.end])["h323-uu-pdu"]
    found = value["h323-message-body"][1]
    return (found or {}) | {"h245Control": value.get("h245Control", [])}


# -- ends --------------------------------------------------------------------------------------------------------------


class Talk:
    """A connection of a client to a server on port 1720. The server's end is there when it has been dialled."""

    def __init__(self, near: Host, far: Host, dialled: str) -> None:
        with far.inside():
            self._listener = socket.create_server((str(far.v4), PORT))
        self._listener.settimeout(SECONDS)
        with near.inside():
            self.client = socket.create_connection((dialled, PORT), SECONDS)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server, self.seen = self._listener.accept()
        self.server.settimeout(SECONDS)

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for each in (self.client, self.server, self._listener):
            each.close()

    def passes(self, message: bytes, is_from_client: bool = True) -> bytes:
        """What comes of a message at the other end."""
        mouth, ear = (self.client, self.server) if is_from_client else (self.server, self.client)
        mouth.sendall(message)
        return heard(ear)

    def is_closed(self) -> bool:
        """Whether both ends were closed, and the server has heard nothing."""
        return end_of(self.client) == b"" and end_of(self.server) == b""


def heard(ear: socket.socket) -> bytes:
    """The next packet."""
    data = _exactly(ear, wire.HEADER_BYTES)
    return data + _exactly(ear, int.from_bytes(data[2:4], "big") - wire.HEADER_BYTES)


def _exactly(ear: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = ear.recv(size - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def end_of(ear: socket.socket) -> bytes:
    """All that comes before the end of a connection. Raises TimeoutError when there is none."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := ear.recv(65536):
            data += more
    return data


def dialled(host: Host, at: At, seconds: float = SECONDS) -> socket.socket:
    """A connection from somebody at this host to there. Raises OSError."""
    with host.inside():
        return socket.create_connection(at, seconds)


def can_dial(host: Host, at: At) -> bool:
    """Whether somebody at this host gets a connection to there."""
    try:
        dialled(host, at, REFUSED_SECONDS).close()
    except OSError:
        return False
    return True


def reaches(host: Host, at: At, listener: socket.socket, seconds: float = SECONDS) -> bool:
    """Whether a call from somebody at this host gets through to one who waits, within so many seconds a step
    (REFUSED_SECONDS for whoever should not). A hole that admits nobody yet takes connections, and passes those on later
    that were given up meanwhile."""
    call = setup(next(_calls))
    with contextlib.ExitStack() as stack:
        try:
            dialling = stack.enter_context(dialled(host, at, seconds))
            dialling.sendall(call)
            while True:
                listener.settimeout(seconds)
                come = stack.enter_context(listener.accept()[0])
                come.settimeout(seconds)
                with contextlib.suppress(ConnectionError):
                    if heard(come) == call:
                        return True
        except OSError:
            return False


@contextlib.contextmanager
def waiting(host: Host, port: int, version: int = 4) -> Iterator[tuple[socket.socket, At]]:
    """Somebody who waits on a port, for others to reach, and where."""
    at = str(host.address(version)), port
    with host.inside():
        listener = socket.create_server(at, family=FAMILIES[version])
    listener.settimeout(SECONDS)
    with listener:
        yield listener, at


@contextlib.contextmanager
def bound(host: Host, port: int, version: int = 4) -> Iterator[socket.socket]:
    """A socket for media."""
    with host.inside():
        media = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
    with media:
        media.bind((str(host.address(version)), port))
        media.settimeout(SECONDS)
        yield media


@contextlib.contextmanager
def silent(ear: socket.socket) -> Iterator[None]:
    """What is done in here waits for something that does not come."""
    ear.settimeout(REFUSED_SECONDS)
    with pytest.raises(TimeoutError):
        yield
    ear.settimeout(SECONDS)


def opened(daemon: Daemon) -> int:
    """How many pinholes have been opened."""
    return len(daemon.audit("pinhole.opened"))


def expected(lab: Lab, seconds: float = SECONDS) -> list[str]:
    """What the kernel's helper lets in, once there is something."""
    end = time.monotonic() + seconds
    while not (found := lab.gateway.run(["conntrack", "-L", "expect"]).stdout.splitlines()) and time.monotonic() < end:
        time.sleep(0.02)
    return found
