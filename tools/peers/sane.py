"""A real server of scanners (saned), and a real client (scanimage). The scanner is the one of SANE's own tests, which
draws what is asked of it: the same picture each time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers import programs
from tools.peers.ftp import SECONDS, TransferFailed

Address = IPv4Address | IPv6Address
PORT = 6566
DEVICE = "test:0"
USER, PASSWORD = "operator", "correct-horse"
PICTURE = ("--mode", "Color", "--resolution", "75", "--test-picture", "Color pattern")
"""A picture of 200 kB."""
FEEDER = ("--source", "Automatic Document Feeder", *PICTURE)
"""The same from a feeder, which holds ten sheets."""
SHEETS = 10


def missing() -> str:
    """What is not installed; empty when nothing is."""
    return programs.missing("saned", "scanimage")


def _environment(config: Path) -> Mapping[str, str]:
    """Libraries and backends as they were unpacked, and a configuration."""
    found = [*programs.UNPACKED.glob("usr/lib/*/libsane.so.1"), *programs.UNPACKED.glob("usr/lib/*/sane")]
    paths = [str(path if path.is_dir() else path.parent) for path in found]
    alone = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}  # both look for Avahi of this machine
    own = {"LD_LIBRARY_PATH": ":".join(paths), "SANE_CONFIG_DIR": str(config), "HOME": str(config)}
    return os.environ | alone | own


# -- the server --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    host: Host
    config: Path

    def scan(self, *options: str) -> bytes:
        """A picture that a user of this very host takes, without a network. Raises TransferFailed."""
        return _run(self.host, self.config, ["-d", DEVICE, *options])


@contextlib.contextmanager
def saned(host: Host, trusted: Iterable[Address], asks_for_user: bool = False, settings: str = "") -> Iterator[Server]:
    """A server for clients at these addresses alone. asks_for_user: who opens the scanner has to be USER. settings:
    lines of saned.conf."""
    with tempfile.TemporaryDirectory(prefix="saned-") as made:
        config = Path(made)
        (config / "dll.conf").write_text("test\n")
        lines = [f"[{address}]" if address.version == 6 else str(address) for address in trusted]
        (config / "saned.conf").write_text("\n".join([settings, *lines, ""]))
        if asks_for_user:
            (config / "saned.users").write_text(f"{USER}:{PASSWORD}:{DEVICE.partition(':')[0]}\n")
        command = [programs.program("saned"), "-l", "-p", str(PORT), "-e"]
        with (config / "log").open("wb") as log:
            process = host.popen(command, stdout=log, stderr=log, env=_environment(config), cwd=config)
        try:
            host.wait_until_bound("tcp", PORT, process)
            yield Server(host, config)
        finally:
            host.end(process, SECONDS)


# -- the client --------------------------------------------------------------------------------------------------------


def scan(host: Host, at: Address, *options: str, password: str = "") -> bytes:
    """The picture of the scanner at this address. Raises TransferFailed."""
    with _client(at, password) as config:
        return _run(host, config, ["-d", _device(at), *options])


def scan_all(host: Host, at: Address, *options: str) -> list[bytes]:
    """The pictures of all sheets of its feeder, over one connection. Raises TransferFailed."""
    with _client(at) as config, tempfile.TemporaryDirectory(prefix="pages-") as made:
        _run(host, config, ["-d", _device(at), f"--batch={made}/%03d.pnm", *options])
        return [page.read_bytes() for page in sorted(Path(made).iterdir())]


def listed(host: Host, at: Address) -> bytes:
    """The scanners that this address offers. Raises TransferFailed."""
    with _client(at) as config:
        return _run(host, config, ["-L"])


@contextlib.contextmanager
def under_way(host: Host, at: Address, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client that takes a picture. It is ended, if it has not ended by itself."""
    with _client(at) as config:
        process = host.popen(_command(["-d", _device(at), *options]), stdout=subprocess.PIPE, env=_environment(config))
        try:
            yield process
        finally:
            host.end(process, SECONDS)


def _device(at: Address) -> str:
    return f"net:[{at}]:{DEVICE}" if at.version == 6 else f"net:{at}:{DEVICE}"


def _command(words: Sequence[str]) -> list[str]:
    return [programs.program("scanimage"), *words]


@contextlib.contextmanager
def _client(at: Address, password: str = "") -> Iterator[Path]:
    """The configuration of a client that knows one server."""
    with tempfile.TemporaryDirectory(prefix="scanimage-") as made:
        config = Path(made)
        _configure(config, at)
        if password:
            (config / ".sane").mkdir()
            secret = config / ".sane" / "pass"
            secret.touch(0o600)
            secret.write_text(f"{USER}:{password}:net:{at}:{DEVICE.partition(':')[0]}\n")
        yield config


def _configure(config: Path, at: Address) -> None:
    (config / "dll.conf").write_text("net\n")
    (config / "net.conf").write_text(f"{at}\n")


def _run(host: Host, config: Path, words: Sequence[str]) -> bytes:
    process = host.popen(
        _command(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(config), cwd=config
    )
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired as late:
        host.end(process, SECONDS)
        raise TransferFailed("scanimage: no end") from late
    if process.returncode:
        raise TransferFailed(f"scanimage: {process.returncode} {errors.decode(errors='replace')}")
    return bytes(output)
