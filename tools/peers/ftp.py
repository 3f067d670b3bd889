"""Real FTP servers and clients, each told in its own words to do the same.

Servers listen on port 21 of a host, IPv4 and IPv6, without a range for passive ports, and without hints about NAT.
Clients take the addresses that servers announce as they are, where they would rather trust themselves (lftp, curl and
ftplib replace the address of a 227): what a gateway rewrites wrongly must hurt.
"""

from __future__ import annotations

import contextlib
import ftplib
import importlib.util
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers import programs

SECONDS = 20
"""For any one answer or command; nothing in a lab should take a hundredth of it."""
INCOMING = "incoming"
"""The directory of a server that clients may write to."""
ABORT_AFTER = 100_000
"""Bytes of a transfer that are read before it is aborted."""


# -- what is done ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mode:
    """How data connections are made: active or passive, EPRT and EPSV or PORT and PASV, over which IP version."""

    active: bool
    extended: bool
    version: int

    @property
    def command(self) -> str:
        if self.active:
            return "EPRT" if self.extended else "PORT"
        return "EPSV" if self.extended else "PASV"

    def __str__(self) -> str:
        return f"{self.command}-ipv{self.version}"


MODES = tuple(
    Mode(active, extended, version)
    for version in (4, 6)
    for active in (False, True)
    for extended in (False, True)
    if extended or version == 4  # PORT and PASV have no room for an IPv6 address
)


@dataclass(frozen=True, slots=True)
class List:
    """The names in the server's directory, into a local file, one a line."""

    local: Path


@dataclass(frozen=True, slots=True)
class Get:
    remote: str
    local: Path


@dataclass(frozen=True, slots=True)
class Put:
    local: Path
    remote: str


@dataclass(frozen=True, slots=True)
class AbortGet:
    """Begin to download a large file and abort that, as the program does it; the steps after it must still work."""

    remote: str


Step = List | Get | Put | AbortGet


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: str


class TransferFailed(Exception):
    """A client did not do what it was told. The text is what it said."""


# -- servers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    host: Host
    home: Path
    """What clients see as the directory they are in. Only below `incoming` may they write."""
    login: Login
    log: Path


@contextlib.contextmanager
def _serving(
    name: str, host: Host, login: Login, commands: Callable[[Path], Sequence[Sequence[str]]]
) -> Iterator[Server]:
    # Not in pytest's own directories, which only root may enter: servers give root up.
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        home, log = directory / "home", directory / "log"
        home.mkdir(mode=0o755)
        # vsftpd serves nobody whose top directory is writable.
        (home / INCOMING).mkdir()
        (home / INCOMING).chmod(0o777)
        processes = []
        try:
            with log.open("wb") as output:
                for command in commands(directory):
                    processes.append(host.popen(command, stdout=output, stderr=output, cwd=directory))
            for address in (host.v4, host.v6):
                _wait_until_it_greets(host, address, processes, log)
            yield Server(name, host, home, login, log)
        finally:
            for process in processes:
                host.end(process, SECONDS)


def _wait_until_it_greets(
    host: Host, address: IPv4Address | IPv6Address, processes: Sequence[subprocess.Popen[bytes]], log: Path
) -> None:
    for _ in range(SECONDS * 100):
        with (
            contextlib.suppress(ConnectionRefusedError),
            host.inside(),
            socket.create_connection((str(address), 21), SECONDS) as control,
        ):
            if control.recv(3) == b"220":
                return
        # Not there yet: until it ends, a hundredth of a second at most.
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[0].wait(0.01)
        if any(process.poll() is not None for process in processes):
            break
    raise RuntimeError(f"no FTP server at {address}: {log.read_text(errors='replace')}")


@contextlib.contextmanager
def vsftpd(host: Host) -> Iterator[Server]:
    """Anonymous sessions that may write: they need neither PAM nor a user of their own."""

    def commands(directory: Path) -> Sequence[Sequence[str]]:
        (directory / "empty").mkdir()
        settings = {
            "listen": "NO",
            "listen_ipv6": "YES",  # both
            "background": "NO",
            "anonymous_enable": "YES",
            "anon_root": directory / "home",
            "anon_upload_enable": "YES",
            "anon_other_write_enable": "YES",
            "anon_umask": "022",
            "write_enable": "YES",
            "ftp_username": "daemon",  # needs a home that exists, though it is left at once
            "nopriv_user": "nobody",
            "secure_chroot_dir": directory / "empty",
            "connect_from_port_20": "YES",
            "async_abor_enable": "YES",
            # Sessions in namespaces of their own would not be found when the lab is taken down.
            "isolate": "NO",
            "isolate_network": "NO",
        }
        path = directory / "vsftpd.conf"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return [[programs.program("vsftpd"), str(path)]]

    with _serving("vsftpd", host, Login("anonymous", "guest@example.org"), commands) as server:
        yield server


@contextlib.contextmanager
def proftpd(host: Host) -> Iterator[Server]:
    login = Login("ada", "hole")
    hashed = "$5$pinhole$.gDKmvFqTiEPu9jJKrNyODSfZjXQQmq0/xY8a8dbPa7"  # crypt(3) of `hole`
    program = programs.program("proftpd")
    # Debian 13 has outside the program what is part of it in Debian 12.
    modules = Path(program).parents[1] / "lib/proftpd"
    load = [f"LoadModule {name}.c" for name in ("mod_xfer", "mod_ls", "mod_delay") if (modules / f"{name}.so").exists()]
    load = [f"ModulePath {modules}", *load] if load else []

    def commands(directory: Path) -> Sequence[Sequence[str]]:
        users = directory / "users"
        users.write_text(f"{login.user}:{hashed}:65534:65534::{directory}/home:/bin/sh\n")
        users.chmod(0o600)
        (directory / "run").mkdir(mode=0o755)
        path = directory / "proftpd.conf"
        path.write_text(
            "".join(f"{line}\n" for line in load)
            + f"""
            ServerName lab
            # The greeting of its own names an address, as text that no gateway could know for what it is.
            ServerIdent on lab
            ServerType standalone
            DefaultAddress {host.v4} {host.v6}
            UseIPv6 on
            Port 21
            User nobody
            Group nogroup
            AuthUserFile {users}
            AuthOrder mod_auth_file.c
            AuthPAM off
            RequireValidShell off
            DefaultRoot ~
            AllowOverwrite on
            Umask 022
            UseReverseDNS off
            WtmpLog off
            DelayEngine off
            TimeoutLinger 0
            ScoreboardFile {directory}/run/scoreboard
            PidFile {directory}/run/pid
            ControlsSocket {directory}/run/control
            """
        )
        return [[program, "--nodaemon", "--config", str(path)]]

    with _serving("proftpd", host, login, commands) as server:
        yield server


_PYFTPDLIB = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

home, user, password, *addresses = sys.argv[1:]
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_user(user, password, home, perm="elradfmwMT")
servers = [FTPServer((address, 21), FTPHandler) for address in addresses]
servers[0].serve_forever()  # the loop is the same for all
"""


@contextlib.contextmanager
def pyftpdlib(host: Host) -> Iterator[Server]:
    login = Login("grace", "hopper")

    def commands(directory: Path) -> Sequence[Sequence[str]]:
        words = [str(directory / "home"), login.user, login.password, str(host.v4), str(host.v6)]
        return [[sys.executable, "-W", "ignore", "-c", _PYFTPDLIB, *words]]

    with _serving("pyftpdlib", host, login, commands) as server:
        yield server


SERVERS = {"vsftpd": vsftpd, "proftpd": proftpd, "pyftpdlib": pyftpdlib}


# -- clients -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """`do(host, at, login, mode, steps)` does the steps in order, as far as it can in one control session, and raises
    TransferFailed when that did not work. What was transferred is the caller's to check."""

    name: str
    do: Callable[[Host, IPv4Address | IPv6Address, Login, Mode, Sequence[Step]], None]
    has_eprt_for_ipv4: bool = True

    def supports(self, mode: Mode) -> bool:
        return self.has_eprt_for_ipv4 or not (mode.active and mode.extended and mode.version == 4)


def _run(host: Host, command: Sequence[str], stdin: str = "", steps: Sequence[Step] = ()) -> str:
    """Run a client; returns what it said. TransferFailed also when a file is absent that it was to write."""
    try:
        done = host.run(
            command, stdin=stdin, timeout=3 * SECONDS, check=False, env={**os.environ, "HOME": "/nonexistent"}
        )
    except subprocess.TimeoutExpired as error:
        raise TransferFailed(f"{shlex.join(command)}: does not end: {error.stdout!r} {error.stderr!r}") from error
    said = f"{shlex.join(command)}\n{stdin}{done.stdout}{done.stderr}"
    if done.returncode:
        raise TransferFailed(f"exit status {done.returncode}: {said}")
    for step in steps:
        if isinstance(step, List | Get) and not step.local.exists():
            raise TransferFailed(f"{step} was not done: {said}")
    return said


def _lftp(host: Host, at: IPv4Address | IPv6Address, login: Login, mode: Mode, steps: Sequence[Step]) -> None:
    def words(step: Step) -> str:
        match step:
            case List(local):
                return f"nlist > {local}"
            case Get(remote, local):
                return f"get {remote} -o {local}"
            case Put(local, remote):
                return f"put {local} -o {remote}"
            case AbortGet(remote):
                # The pipe breaks under the transfer: lftp sends ABOR, and knows no failure in that.
                return f"cat {remote} | head -c {ABORT_AFTER} > /dev/null"

    script = [
        f"set net:timeout {SECONDS}",
        "set net:max-retries 1",
        "set net:reconnect-interval-base 1",
        "set ftp:ssl-allow no",
        "set ftp:fix-pasv-address no",
        "set ftp:auto-passive-mode no",
        f"set ftp:passive-mode {'no' if mode.active else 'yes'}",
        f"set ftp:prefer-epsv {'yes' if mode.extended else 'no'}",
        "set cmd:fail-exit yes",
        f"open -u {login.user},{login.password} ftp://{f'[{at}]' if at.version == 6 else at}",
        *(words(step) for step in steps),
    ]
    _run(host, ["lftp", "--norc", "-d", "-c", "; ".join(script)], steps=steps)


def _tnftp(host: Host, at: IPv4Address | IPv6Address, login: Login, mode: Mode, steps: Sequence[Step]) -> None:
    def words(step: Step) -> str:
        match step:
            case List(local):
                return f"nlist . {local}"
            case Get(remote, local):
                return f"get {remote} {local}"
            case Put(local, remote):
                return f"put {local} {remote}"
            case AbortGet(remote):
                # What reads the transfer interrupts its parent, as a user would: tnftp sends IAC IP, DM and ABOR.
                reader = f"head -c {ABORT_AFTER} >/dev/null; kill -INT $PPID; cat >/dev/null"
                return f'get {remote} "|{reader}"'

    script = [
        f"passive {'off' if mode.active else 'on'}",
        f"epsv4 {'on' if mode.extended else 'off'}",
        f"open {at} 21",
        f"user {login.user} {login.password}",
        "binary",
        *(words(step) for step in steps),
        "quit",
    ]
    said = _run(host, ["tnftp", "-n", "-i", "-v", "-d"], "".join(f"{line}\n" for line in script), steps)
    finished = sum(line.startswith("226") for line in said.splitlines())
    if finished < sum(not isinstance(step, AbortGet) for step in steps):
        raise TransferFailed(f"not all transfers were finished: {said}")


def _curl(host: Host, at: IPv4Address | IPv6Address, login: Login, mode: Mode, steps: Sequence[Step]) -> None:
    url = f"ftp://{f'[{at}]' if at.version == 6 else at}"
    options = ["--globoff", "--user", f"{login.user}:{login.password}", "--max-time", str(SECONDS), "--silent"]
    options += ["--show-error", "--verbose", "--no-ftp-skip-pasv-ip"]
    if mode.active:
        options += ["--ftp-port", "-", *([] if mode.extended else ["--disable-eprt"])]
    else:
        options += ["--ftp-pasv", *([] if mode.extended else ["--disable-epsv"])]

    def words(step: Step) -> list[str]:
        match step:
            case List(local):
                return ["--list-only", "--output", str(local), f"{url}/"]
            case Get(remote, local):
                return ["--output", str(local), f"{url}/{remote}"]
            case Put(local, remote):
                return ["--upload-file", str(local), f"{url}/{remote}"]
            case AbortGet(remote):
                # FTP cannot ask for a range: curl closes the data connection when it has enough.
                return ["--range", f"0-{ABORT_AFTER - 1}", "--output", os.devnull, f"{url}/{remote}"]

    command = ["curl", "--disable", "--fail-early"]
    for number, step in enumerate(steps):
        command += [*(["--next"] if number else []), *options, *words(step)]
    _run(host, command, steps=steps)


class _Ftplib(ftplib.FTP):
    """ftplib chooses by IP version; this one by mode."""

    trust_server_pasv_ipv4_address = True
    mode: Mode

    def makepasv(self) -> tuple[str, int]:
        if not self.mode.extended:
            return super().makepasv()
        assert self.sock
        return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())

    def makeport(self) -> socket.socket:
        assert self.sock
        host = self.sock.getsockname()[0]
        with ExitStack() as unless_refused:
            listener = unless_refused.enter_context(socket.create_server((host, 0), family=self.af, backlog=1))
            port = listener.getsockname()[1]
            if self.mode.extended:
                self.sendeprt(host, port)
            else:
                self.sendport(host, port)
            listener.settimeout(self.timeout)
            unless_refused.pop_all()
        return listener


def _ftplib(host: Host, at: IPv4Address | IPv6Address, login: Login, mode: Mode, steps: Sequence[Step]) -> None:
    with host.inside():
        try:
            with _Ftplib(timeout=SECONDS) as ftp:
                ftp.mode = mode
                ftp.connect(str(at))
                ftp.login(login.user, login.password)
                ftp.set_pasv(not mode.active)
                for step in steps:
                    _ftplib_step(ftp, step)
                ftp.quit()
        except (ftplib.Error, OSError, EOFError) as error:
            raise TransferFailed(f"ftplib: {error!r}") from error


def _ftplib_step(ftp: ftplib.FTP, step: Step) -> None:
    match step:
        case List(local):
            local.write_text("".join(f"{name}\n" for name in ftp.nlst()))
        case Get(remote, local):
            with local.open("wb") as file:
                ftp.retrbinary(f"RETR {remote}", file.write, 256 * 1024)
        case Put(local, remote):
            with local.open("rb") as file:
                ftp.storbinary(f"STOR {remote}", file, 256 * 1024)
        case AbortGet(remote):
            ftp.voidcmd("TYPE I")
            with ftp.transfercmd(f"RETR {remote}") as data:
                data.recv(ABORT_AFTER, socket.MSG_WAITALL)
                # ftplib's own abort() makes the end of the line urgent, which servers that follow RFC 959 then miss;
                # and it waits for the answer, which proftpd gives when rid of its data. So: Telnet Synch (RFC 854).
                assert ftp.sock
                ftp.sock.sendall(b"\xff\xf4\xff", socket.MSG_OOB)
                ftp.sock.sendall(b"\xf2ABOR\r\n")
                with contextlib.suppress(ConnectionResetError):
                    while data.recv(256 * 1024):
                        pass
            # Servers answer once or twice, before or after data has ended: whatever comes before the answer to this.
            ftp.putcmd("NOOP")
            while not ftp.getmultiline().startswith("200"):
                pass


CLIENTS = (
    Client("lftp", _lftp, has_eprt_for_ipv4=False),
    Client("tnftp", _tnftp),
    Client("curl", _curl),
    Client("ftplib", _ftplib),
)

PAIRS = tuple((client, mode) for client in CLIENTS for mode in MODES if client.supports(mode))
"""What there is on the side of the clients."""


def missing() -> str:
    """What is not installed of all this; empty when nothing is. pyftpdlib is told of by `has_pyftpdlib`."""
    return programs.missing("vsftpd", "proftpd", "lftp", "tnftp", "curl")


def has_pyftpdlib() -> bool:
    """It comes with the packages for testing, not with those for running."""
    return importlib.util.find_spec("pyftpdlib") is not None
