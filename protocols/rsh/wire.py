"""What is said before a command runs: the port of the second connection, and three strings (rcmd(3), rexec(3)).

    rsh     PORT NUL   LOCAL-USER NUL  REMOTE-USER NUL  COMMAND NUL
    rexec   PORT NUL   USER NUL        PASSWORD NUL     COMMAND NUL

The server answers with NUL, or with another byte and a line that says what is wrong (RS6).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from protocols.contract.addresses import RESERVED_PORTS, Malformed

MAX_PORT_DIGITS = 5
MAX_FIRST_DIGITS = 8
"""So many digits are read, to see what stands behind them: the length of a first message of syslog may be as long."""
FIRST_BYTES = MAX_FIRST_DIGITS + 1
"""What a client speaks is known by so many bytes."""
MAX_USER_BYTES = 64
"""The longest name of a user. BSD takes 16 bytes, Linux 32, and directories have longer ones."""
MAX_PASSWORD_BYTES = 256
MAX_COMMAND_BYTES = 65536
"""rshd takes what one argument of a program may have, which is more on Linux; nobody types so much."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a server offers on a port, and what its clients may say there."""

    name: str
    ports: range
    """Where the second connection may be awaited (RS2, RS12)."""
    most: tuple[int, ...]
    """How many bytes each of the strings may have. Empty: they are not read."""


RSH = Service("rsh", RESERVED_PORTS, (MAX_USER_BYTES, MAX_USER_BYTES, MAX_COMMAND_BYTES))
REXEC = Service("rexec", range(RESERVED_PORTS.start, 65536), (MAX_USER_BYTES, MAX_PASSWORD_BYTES, MAX_COMMAND_BYTES))
UNREAD = Service("unread", REXEC.ports, ())
"""One that begins like rsh, and what follows is unknown: kshell, whose names are encrypted, or rexec at another port,
whose second string is a password (RS8)."""


def service_at(port: int) -> Service:
    """The service that clients find at a port."""
    return {514: RSH, 512: REXEC}.get(port, UNREAD)


class First(Enum):
    """What a client begins with."""

    UNKNOWN = auto()
    """More has to come before that can be told."""
    PORT = auto()
    SYSLOG = auto()
    """Syslog over TCP: a message that begins with its priority, or with its length and a space (RFC 6587 s.3.4)."""
    OTHER = auto()


def first(data: bytes | bytearray) -> First:
    """Tells by its first bytes what a client speaks (RS9)."""
    head = bytes(data[:FIRST_BYTES])
    digits = len(head) - len(head.lstrip(b"0123456789"))
    behind = head[digits : digits + 1]
    if not behind:
        return First.UNKNOWN if digits < FIRST_BYTES else First.OTHER
    if behind == b"\0":
        return First.PORT
    is_syslog = behind == b" " if digits else behind == b"<"
    return First.SYSLOG if is_syslog else First.OTHER


def read_port(text: bytes, ports: range) -> int:
    """The port of the second connection. 0: the client wants none; it may also leave the number out (RS2).

    text: the first string of a client, digits alone. Raises Malformed when the port is none of `ports`.
    """
    port = int(text or b"0")
    if len(text) > MAX_PORT_DIGITS or (port and port not in ports):
        raise Malformed(f"the port is {text.decode()}, and none from {ports[0]} to {ports[-1]}")
    return port


class Strings:
    """Collects the strings of a client, as they come."""

    __slots__ = ("_begun", "_most", "whole")

    def __init__(self, most: tuple[int, ...]) -> None:
        """most: how many bytes each of them may have."""
        self._most = most
        self.whole: list[bytes] = []
        self._begun = bytearray()
        """The string that has no end yet."""

    @property
    def are_whole(self) -> bool:
        """Whether all of them have come."""
        return len(self.whole) == len(self._most)

    def push(self, data: bytes) -> bytes:
        """Take in what has come. Returns what stands behind the last string. Raises Malformed when a string is too
        long."""
        while data and not self.are_whole:
            part, nul, data = data.partition(b"\0")
            self._begun += part
            if len(self._begun) > (most := self._most[len(self.whole)]):
                raise Malformed(f"string {len(self.whole) + 1} is longer than {most} bytes")
            if nul:
                self.whole.append(bytes(self._begun))
                self._begun.clear()
        return data

    def as_sent(self) -> bytes:
        """The strings, as they go to the server."""
        return b"".join(string + b"\0" for string in self.whole)


def error(text: str) -> bytes:
    """An answer of ours in the server's place: no command runs (RS6)."""
    return b"\1" + text.encode("ascii") + b"\n"
