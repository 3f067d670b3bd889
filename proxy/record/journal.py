"""systemd's journal as an outlet of the log, in its native protocol: each field of a line is a field of the entry.

    journalctl -t pinhole -p warning PINHOLE_EVENT=violation

An entry has MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, and our fields as PINHOLE_NAME. One that is too long for a datagram
is handed over as a file in memory (systemd: "Native Journal Protocol").
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from proxy.record.catalogue import severity
from proxy.record.forms import Form
from proxy.record.outlets import as_bytes
from proxy.record.syslog import SEVERITIES, connected

SOCKET = "/run/systemd/journal/socket"


class JournalOutlet:
    """Sends each line as an entry of its own."""

    name = "journal"

    def __init__(self, form: Form, path: str = SOCKET) -> None:
        """`form` is that of MESSAGE."""
        self._form = form
        self._path = path
        self._sock: socket.socket | None = None

    def dress(self, lines: Iterable[str]) -> Iterator[bytes]:
        """The entries, as datagrams."""
        for line in lines:
            record = json.loads(line)
            record.pop("severity", None)
            fields = {
                "MESSAGE": self._form(line),
                "PRIORITY": str(SEVERITIES[severity(record["event"])]),
                "SYSLOG_IDENTIFIER": "pinhole",
                **{f"PINHOLE_{name.upper()}": _text(value) for name, value in record.items() if value is not None},
            }
            yield b"".join(_field(name.encode(), as_bytes(text)) for name, text in fields.items())

    def write(self, waiting: deque[bytes]) -> None:
        """Send what waits, one by one."""
        if self._sock is None:
            self._sock = connected(socket.AF_UNIX, socket.SOCK_DGRAM, self._path)
        try:
            while waiting:
                _send(self._sock, waiting[0])
                waiting.popleft()
        except OSError:
            self.close()
            raise

    def is_stale(self) -> bool:
        """A socket that nobody reads any more says so by itself."""
        return False

    def reopen(self, waiting: deque[bytes]) -> None:
        """Connect anew, with the next line."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _text(value: Any) -> str:
    """A value as text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _field(name: bytes, text: bytes) -> bytes:
    """A field of an entry. One with a line end comes with its length."""
    if b"\n" in text:
        return name + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"
    return name + b"=" + text + b"\n"


def _send(sock: socket.socket, entry: bytes) -> None:
    """Send an entry, or a descriptor of it where it is too long. Raises OSError."""
    try:
        sock.send(entry)
    except OSError as error:
        if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
            raise
        _send_file(sock, entry)


def _send_file(sock: socket.socket, entry: bytes) -> None:
    """Send an entry as a file in memory, sealed so that the journal can trust it. Raises OSError."""
    fd = os.memfd_create("pinhole", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, entry)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        socket.send_fds(sock, [b""], [fd])
    finally:
        os.close(fd)
