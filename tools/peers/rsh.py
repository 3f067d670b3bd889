"""Real servers and clients of rsh, rcp and rexec, each told in its own words to do the same.

Servers are started by inetd on ports 514 and 512 of a host. The host has one user, known to nobody else. Whom he
trusts, and his password, stand in files that a mount namespace of its own puts in the place of those of this machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers.ftp import SECONDS, TransferFailed
from tools.peers.programs import UNPACKED

Address = IPv4Address | IPv6Address
RSH_PORT, REXEC_PORT = 514, 512
USER, PASSWORD = "operator", "correct-horse"
_HASH = "$6$pinhole$RnfHO0Ci2GBV3tan2r.O7UR2yD8aMfpHHGAQcV7OrEVNevmruRXRd1pQ2jIFgJAO9s.Utm/AYoXDnSboT16u7."
"""Of PASSWORD, as crypt(3) makes it."""
_NOBODY = 65534

NETKIT, REDONE = UNPACKED / "usr", UNPACKED / "rsh-redone" / "usr"
INETD = UNPACKED / "usr" / "sbin" / "inetd"


def missing() -> str:
    """What the demo needs of all this and is not installed; empty when nothing is."""
    wanted = {"rsh-client": NETKIT / "bin/netkit-rsh", "rsh-server": NETKIT / "sbin/in.rshd", "openbsd-inetd": INETD}
    return ", ".join(name for name, path in wanted.items() if not path.exists())


# -- servers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    host: Host
    home: Path
    """Of the user, who may write there."""


Serve = Callable[[Host, Iterable[Address]], contextlib.AbstractContextManager[Server]]
"""Serves the users of clients at these addresses."""


def _server(name: str, rshd: Path, rexecd: Path | None = None) -> Serve:
    @contextlib.contextmanager
    def serve(host: Host, trusted: Iterable[Address]) -> Iterator[Server]:
        # Not in pytest's own directories, which only root may enter: the user is not root.
        with tempfile.TemporaryDirectory(prefix=f"rsh-{name}-") as made:
            directory = Path(made)
            directory.chmod(0o755)
            home = _machine(directory, trusted)
            services = [(RSH_PORT, "tcp4", rshd), (RSH_PORT, "tcp6", rshd)]
            services += [(REXEC_PORT, "tcp4", rexecd)] if rexecd else []  # it takes no IPv6
            (directory / "inetd.conf").write_text(
                "".join(f"{port} stream {transport} nowait root {at} {at.name}\n" for port, transport, at in services)
            )
            with (directory / "log").open("wb") as output:
                process = host.popen(_mounted(directory, [INETD, "-d", directory / "inetd.conf"]), stderr=output)
            try:
                for port, count in Counter(port for port, *_ in services).items():
                    host.wait_until_bound("tcp", port, process, sockets=count)
                yield Server(name, host, home)
            finally:
                host.end(process, SECONDS)

    return serve


def _machine(directory: Path, trusted: Iterable[Address]) -> Path:
    """The files of a machine with one user. Returns his home."""
    home = directory / "home"
    home.mkdir()
    shutil.copy(NETKIT / "bin/netkit-rcp", directory / "rcp")
    shell = directory / "shell"  # rshd would give him a path on which there is no rcp
    shell.write_text(f'#!/bin/sh\nPATH={directory}:$PATH exec /bin/sh "$@"\n')
    shell.chmod(0o755)
    names = {address: f"host{number}" for number, address in enumerate(trusted)}
    (home / ".rhosts").write_text("".join(f"{name} root\n" for name in names.values()))
    for path in (home, home / ".rhosts"):
        os.chown(path, _NOBODY, _NOBODY)
    (home / ".rhosts").chmod(0o600)
    etc = directory / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{USER}:x:{_NOBODY}:{_NOBODY}::{home}:{shell}\n")
    (etc / "shadow").write_text(f"{USER}:{_HASH}:19000:0:99999:7:::\n")
    (etc / "hosts").write_text("".join(f"{address} {name}\n" for address, name in names.items()))
    (etc / "nsswitch.conf").write_text("passwd: files\nshadow: files\nhosts: files\n")
    (etc / "pam.d").mkdir()
    for service, module in (("rsh", "pam_rhosts.so"), ("rexec", "pam_unix.so nodelay")):
        kinds = {"auth": module, "account": "pam_unix.so", "session": "pam_permit.so"}
        (etc / "pam.d" / service).write_text("".join(f"{kind} required {name}\n" for kind, name in kinds.items()))
    return home


def _mounted(directory: Path, command: Sequence[str | Path]) -> Sequence[str | Path]:
    """The command on that machine."""
    script = 'for file in "$0"/*; do mount --bind "$file" "/etc/${file##*/}" || exit; done; exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, directory / "etc", *command]


netkit = _server("netkit", NETKIT / "sbin/in.rshd", NETKIT / "sbin/in.rexecd")
redone = _server("redone", REDONE / "sbin/in.rshd")
SERVERS: dict[str, Serve] = {"netkit": netkit, "redone": redone}


# -- clients -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """What a command has written."""

    output: bytes
    errors: bytes


def _run(host: Host, command: Sequence[str | Path], given: bytes = b"", seconds: float = SECONDS) -> Said:
    """Raises TransferFailed."""
    process = host.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = process.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        host.end(process, SECONDS)
        raise TransferFailed(f"{command[0]}: no end") from late
    if process.returncode:
        raise TransferFailed(f"{command[0]}: {process.returncode} {errors.decode(errors='replace')}")
    return Said(output, errors)


@dataclass(frozen=True, slots=True)
class Client:
    """A client of rsh, which always asks for a connection back."""

    name: str
    program: Path

    def command(self, at: Address, command: str, user: str = USER) -> Sequence[str | Path]:
        return [self.program, "-l", user, str(at), command]

    def run(self, host: Host, at: Address, command: str, given: bytes = b"", user: str = USER) -> Said:
        """Run a command for this user of the server. Raises TransferFailed."""
        return _run(host, self.command(at, command, user), given)


CLIENTS = (Client("netkit", NETKIT / "bin/netkit-rsh"), Client("redone", REDONE / "bin/rsh-redone-rsh"))


def upload(host: Host, at: Address, local: Path, remote: Path) -> None:
    """Copy a file to the server by rcp, which asks for no connection back. Raises TransferFailed."""
    _rcp(host, at, local, f"{USER}@server:{remote}")


def download(host: Host, at: Address, remote: Path, local: Path) -> None:
    """Copy a file from the server by rcp. Raises TransferFailed."""
    _rcp(host, at, f"{USER}@server:{remote}", local)


def _rcp(host: Host, at: Address, *files: str | Path) -> None:
    # It takes an address of IPv6 for the name of a host and a file, so the server needs a name.
    with tempfile.TemporaryDirectory(prefix="rcp-") as made:
        etc = Path(made) / "etc"
        etc.mkdir()
        (etc / "hosts").write_text(f"{at} server\n")
        _run(host, _mounted(Path(made), [NETKIT / "bin/netkit-rcp", *files]))


_REXEC = """
import ctypes, os, socket, sys, threading
at, user, password, command, wants_errors = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
host, errors = ctypes.c_char_p(at.encode()), ctypes.c_int(-1)
second = ctypes.byref(errors) if wants_errors == "yes" else None
fd = libc.rexec(ctypes.byref(host), socket.htons(512), user.encode(), password.encode(), command.encode(), second)
if fd < 0:
    sys.exit(f"rexec: {os.strerror(ctypes.get_errno())}")
def copy(source, to):
    while data := os.read(source, 65536):
        os.write(to, data)
threads = [threading.Thread(target=copy, args=ends) for ends in ((fd, 1), (errors.value, 2)) if ends[0] >= 0]
for thread in threads:
    thread.start()
"""
"""No package has a program for rexec, but the C library has the function: rexec(3), for IPv4."""


def rexec(
    host: Host,
    at: Address,
    command: str,
    has_errors: bool = True,
    password: str = PASSWORD,
    seconds: float = SECONDS,
) -> Said:
    """Run a command by rexec, with a connection back or without. It waits for one until `seconds` have passed. Raises
    TransferFailed."""
    words = [str(at), USER, password, command, "yes" if has_errors else "no"]
    return _run(host, [sys.executable, "-I", "-c", _REXEC, *words], seconds=seconds)
