"""Real TFTP servers and clients, each told in its own words to do the same.

Servers listen on port 69 of a host and answer from another port, but for dnsmasq when it is told not to. Clients read a
file into a directory of theirs, or write one to the server.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers import programs
from tools.peers.ftp import SECONDS, TransferFailed
from tools.peers.programs import program

Address = IPv4Address | IPv6Address
PORT = 69


def missing() -> str:
    """What the demo needs of all this and is not installed; empty when nothing is."""
    return programs.missing("in.tftpd")


# -- servers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    host: Host
    home: Path
    """What clients read from and write to."""
    versions: tuple[int, ...] = (4, 6)
    """Of IP, at which it listens."""


Serve = Callable[[Host], contextlib.AbstractContextManager[Server]]


@contextlib.contextmanager
def _serving(
    name: str, host: Host, command: Callable[[Path], Sequence[str]], versions: tuple[int, ...] = (4, 6)
) -> Iterator[Server]:
    # Not in pytest's own directories, which only root may enter: servers give root up.
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as made:
        home = Path(made) / "home"
        Path(made).chmod(0o755)
        home.mkdir()
        home.chmod(0o777)
        with (Path(made) / "log").open("wb") as output:
            process = host.popen(command(home), stdout=output, stderr=output)
        try:
            host.wait_until_bound("udp", PORT, process, sockets=len(versions))
            yield Server(name, host, home, versions)
        finally:
            host.end(process, SECONDS)


@contextlib.contextmanager
def tftpd_hpa(host: Host) -> Iterator[Server]:
    def command(home: Path) -> Sequence[str]:
        return [program("in.tftpd"), "-L", "-c", "-p", "-u", "nobody", "-s", str(home)]

    with _serving("tftpd-hpa", host, command) as server:
        yield server


@contextlib.contextmanager
def atftpd(host: Host) -> Iterator[Server]:
    """It listens at all addresses of IPv4, and at none of IPv6."""

    def command(home: Path) -> Sequence[str]:
        return [program("atftpd"), "--daemon", "--no-fork", "--logfile", "-", "--user", "nobody.nogroup", str(home)]

    with _serving("atftpd", host, command, versions=(4,)) as server:
        yield server


def _dnsmasq(name: str, *more: str) -> Serve:
    @contextlib.contextmanager
    def serve(host: Host) -> Iterator[Server]:
        def command(home: Path) -> Sequence[str]:
            options = [
                "--conf-file=/dev/null",
                "--no-daemon",
                "--port=0",
                "--enable-tftp",
                f"--tftp-root={home}",
                "--tftp-max=1000",
            ]
            return [program("dnsmasq"), *options, "--user=root", "--pid-file=", *more]

        with _serving(name, host, command) as server:
            yield server

    return serve


dnsmasq = _dnsmasq("dnsmasq")
dnsmasq_from_its_port = _dnsmasq("dnsmasq-single", "--tftp-single-port")

READING: dict[str, Serve] = {
    "tftpd-hpa": tftpd_hpa,
    "atftpd": atftpd,
    "dnsmasq": dnsmasq,
    "dnsmasq-single": dnsmasq_from_its_port,
}
"""Servers that files are read from."""
WRITING: dict[str, Serve] = {"tftpd-hpa": tftpd_hpa, "atftpd": atftpd}
"""Servers that files can be written to."""


# -- clients -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """Commands that read a remote file into a local one, and write a local file to a remote one."""

    name: str
    get: Callable[[Address, str, Path], Sequence[str]]
    put: Callable[[Address, Path, str], Sequence[str]]
    versions: tuple[int, ...] = (4, 6)
    """Of IP, that it speaks."""

    def read(self, host: Host, at: Address, remote: str, local: Path, seconds: float = SECONDS) -> None:
        """Raises TransferFailed."""
        _run(host, self.get(at, remote, local), seconds)

    def write(self, host: Host, at: Address, local: Path, remote: str) -> None:
        """Raises TransferFailed."""
        _run(host, self.put(at, local, remote))


def _run(host: Host, command: Sequence[str], seconds: float = SECONDS) -> None:
    process = host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        host.end(process, SECONDS)
        raise TransferFailed(f"{command[0]}: no end") from late
    if process.returncode or b"rror" in said:
        raise TransferFailed(f"{command[0]}: {said.decode(errors='replace')}")


def _url(at: Address, remote: str) -> str:
    return f"tftp://{f'[{at}]' if at.version == 6 else at}/{remote}"


CURL = Client(
    "curl",
    lambda at, remote, local: ["curl", "-gsS", "--max-time", str(SECONDS), "-o", str(local), _url(at, remote)],
    lambda at, local, remote: ["curl", "-gsS", "--max-time", str(SECONDS), "-T", str(local), _url(at, remote)],
)
TFTP_HPA = Client(
    "tftp-hpa",
    lambda at, remote, local: [program("tftp"), "-m", "binary", str(at), "-c", "get", remote, str(local)],
    lambda at, local, remote: [program("tftp"), "-m", "binary", str(at), "-c", "put", str(local), remote],
)
ATFTP = Client(
    "atftp",
    lambda at, remote, local: [program("atftp"), "-g", "-r", remote, "-l", str(local), str(at), str(PORT)],
    lambda at, local, remote: [program("atftp"), "-p", "-l", str(local), "-r", remote, str(at), str(PORT)],
)
BUSYBOX = Client(
    "busybox",
    lambda at, remote, local: [program("busybox"), "tftp", "-g", "-r", remote, "-l", str(local), str(at)],
    lambda at, local, remote: [program("busybox"), "tftp", "-p", "-l", str(local), "-r", remote, str(at)],
)
_TFTPY = (
    "import sys, tftpy;"
    "how, host, port, remote, local = sys.argv[1:];"
    "client = tftpy.TftpClient(host, int(port));"
    "client.download(remote, local) if how == 'get' else client.upload(remote, local)"
)
TFTPY = Client(
    "tftpy",
    lambda at, remote, local: [sys.executable, "-c", _TFTPY, "get", str(at), str(PORT), remote, str(local)],
    lambda at, local, remote: [sys.executable, "-c", _TFTPY, "put", str(at), str(PORT), remote, str(local)],
    versions=(4,),
)
CLIENTS = (CURL, TFTP_HPA, ATFTP, BUSYBOX, TFTPY)
