"""A real portmapper and a real file server that registers with it, and clients that look for services there.

rpcbind answers on port 111 of a host. The file server is nfs-ganesha: NFS of versions 3 and 4, mountd, locks and
quotas, each on a port that the kernel chooses, over TCP and UDP. It serves only clients that come from reserved ports.
rpc.statd stands beside it. All of them have one mount namespace, since they find each other by /run/rpcbind.sock, and
end with it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from protocols.pmap.wire import number, record
from tools.lab import Host
from tools.lab.host import START_SECONDS
from tools.peers import programs
from tools.peers.ftp import SECONDS
from tools.peers.programs import UNPACKED

Address = IPv4Address | IPv6Address
PORT = 111
PROGRAMS = {
    "nfs": (100003, 3),
    "mountd": (100005, 3),
    "rquotad": (100011, 1),
    "nlockmgr": (100021, 4),
    "status": (100024, 1),
}
"""name -> number and version, of those that are registered."""
TRANSPORTS = ("udp", "udp6", "tcp", "tcp6")
"""By which each of them is, one after the other."""


class CallFailed(Exception):
    """A client has not got what it asked for; with its own words."""


def missing() -> str:
    """What the demo needs of all this and is not installed; empty when nothing is."""
    return programs.missing("rpcbind", "ganesha.nfsd", "rpc.statd", "nfs-cp")


# -- servers -----------------------------------------------------------------------------------------------------------

_PSEUDO = "/files"
"""What version 4 calls the directory that version 3 knows by its path."""
_LIBRARIES = UNPACKED / "usr/lib/ganesha"

# nfs-ganesha of Debian 13 does not begin without a privilege that root of a container has not, unless it is told to;
# that of Debian 12 passes over what it does not know.
_GANESHA = """
NFS_CORE_PARAM {{
    allow_set_io_flusher_fail = true;
    Protocols = 3, 4; Enable_NLM = true; Enable_RQUOTA = true; Enable_UDP = true; Plugins_Dir = {plugins};
    NFS_Port = {port}; MNT_Port = 0; NLM_Port = 0; Rquota_Port = 0;
}}
NFSV4 {{ Graceless = true; RecoveryRoot = {made}; }}
EXPORT {{
    Export_Id = 1; Path = {home}; Pseudo = {pseudo}; Protocols = 3, 4; Transports = UDP, TCP; SecType = sys;
    Access_Type = RW; Squash = No_Root_Squash; PrivilegedPort = true;
    FSAL {{ Name = VFS; }}
}}
"""

# rpcbind goes on as a user whom only its package makes.
_PORTMAPPER = """
mount -t tmpfs none /run
mkdir /run/rpcbind
{{ cat /etc/passwd; echo _rpc:x:65534:65534::/run/rpcbind:/usr/sbin/nologin; }} >/run/passwd
mount --bind /run/passwd /etc/passwd
{rpcbind} -f -w &
until [ -S /run/rpcbind.sock ]; do sleep 0.01; done
"""
_FILES = """
mkdir -p /run/statd/sm /run/statd/sm.bak
{statd} --foreground --no-notify --state-directory-path /run/statd &
LD_LIBRARY_PATH={libraries} {ganesha} -F -L {made}/log -f {made}/conf -N NIV_EVENT -p /run/ganesha.pid &
"""


@dataclass(frozen=True, slots=True)
class Server:
    host: Host
    home: Path
    """What clients read from and write to."""

    def port(self, program: str, protocol: str) -> int:
        """Where a service is, as the server's own portmapper has it."""
        number, version = PROGRAMS[program]
        for line in self.host.run([programs.program("rpcinfo"), "-p", "127.0.0.1"]).stdout.splitlines()[1:]:
            words = line.split()
            if words[:3] == [str(number), str(version), protocol]:
                return int(words[3])
        raise CallFailed(f"{program} over {protocol} is not registered")

    def said(self) -> str:
        """The last of what its programs have said, and what is registered."""
        logs = [self.home.with_name(name) for name in ("output", "log")]
        said = [path.read_text(errors="replace")[-2000:] for path in logs if path.exists()]
        return "\n".join([*said, self.host.run([programs.program("rpcinfo"), "-p", "127.0.0.1"], check=False).stdout])

    def is_registered(self) -> bool:
        """Whether all services are, by every transport."""
        done = self.host.run([programs.program("rpcinfo"), "127.0.0.1"], check=False)
        listed = {tuple(line.split()[:3]) for line in done.stdout.splitlines()[1:]}
        wanted = {(str(number), str(version), by) for number, version in PROGRAMS.values() for by in TRANSPORTS}
        return wanted <= listed


@contextlib.contextmanager
def _serving(host: Host, script: str, port: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="nfs-") as made:
        home = Path(made) / "files"
        home.mkdir()
        plugins = next(UNPACKED.glob("usr/lib/*/ganesha"))  # x86_64-linux-gnu ...
        settings = _GANESHA.format(plugins=plugins, port=port, home=home, pseudo=_PSEUDO, made=made)
        (Path(made) / "conf").write_text(settings)
        names = {name.removeprefix("rpc."): programs.program(name) for name in ("rpcbind", "rpc.statd")}
        text = script.format(**names, ganesha=programs.program("ganesha.nfsd"), libraries=_LIBRARIES, made=made)
        with (Path(made) / "output").open("wb") as output:
            command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", f"{text}\nwait"]
            process = host.popen(command, stdout=output, stderr=output)
        try:
            host.wait_until_bound("tcp", PORT, process, sockets=2)  # the one for IPv6 is the last of all
            yield Server(host, home)
        finally:
            host.end(process, 0)  # all of them are killed with the first one


@contextlib.contextmanager
def portmapper(host: Host) -> Iterator[Server]:
    """rpcbind, with nothing registered but itself."""
    with _serving(host, _PORTMAPPER, 0) as server:
        yield server


@contextlib.contextmanager
def file_server(host: Host, port: int = 0) -> Iterator[Server]:
    """rpcbind with all services registered. `port` is that of NFS; 0: the kernel chooses."""
    with _serving(host, _PORTMAPPER + _FILES, port) as server:
        end = time.monotonic() + START_SECONDS
        while not server.is_registered():
            if time.monotonic() > end:
                raise TimeoutError(f"{host.name}: the file server has not registered:\n{server.said()}")
            time.sleep(0.05)
        yield server


# -- clients -----------------------------------------------------------------------------------------------------------


def run(host: Host, command: Sequence[str], seconds: float = SECONDS, under: Sequence[str] = ()) -> str:
    """What a client says. under: a command that starts it. Raises CallFailed."""
    try:
        done = host.run([*under, programs.program(command[0]), *command[1:]], check=False, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        raise CallFailed(f"{command[0]}: no end") from late
    if done.returncode:
        raise CallFailed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def asks(host: Host, at: Address, netid: str, program: str, seconds: float = SECONDS) -> str:
    """rpcinfo finds a service by GETADDR of version 4, and calls it. Raises CallFailed."""
    return run(host, ["rpcinfo", "-T", netid, str(at), *map(str, PROGRAMS[program])], seconds)


def lists(host: Host, at: Address, version: int) -> str:
    """All that is registered, by DUMP of this version of the portmapper's protocol. Raises CallFailed."""
    return run(host, ["rpcinfo", *(["-p"] if version == 2 else []), str(at)])


def exports(host: Host, at: Address) -> str:
    """What may be mounted, as mountd says. Raises CallFailed."""
    return run(host, ["showmount", "--no-headers", "--exports", str(at)])


_SERVER = "server"
_NAMING = f"""
mount -t tmpfs none /run
echo "$0 {_SERVER}" >/run/hosts
mount --bind /run/hosts /etc/hosts
exec "$@"
"""


def _libnfs(host: Host, at: Address, *command: str, seconds: float = SECONDS) -> str:
    """What a client says that knows the server by name, since libnfs of Debian 13 reads no IPv6 address in a URL."""
    return run(host, command, seconds, ["unshare", "--mount", "sh", "-ec", _NAMING, str(at)])


def _url(path: Path) -> str:
    return f"nfs://{_SERVER}{path}"


def names(host: Host, at: Address, directory: Path) -> str:
    """What is in a directory. Raises CallFailed."""
    return _libnfs(host, at, "nfs-ls", _url(directory))


def reads(host: Host, at: Address, remote: Path, local: Path, seconds: float = SECONDS) -> None:
    """Copy a file from the server, over TCP, as root does: from a reserved port. Raises CallFailed."""
    _libnfs(host, at, "nfs-cp", _url(remote), str(local), seconds=seconds)


def reads_by_version_4(host: Host, at: Address, name: str, local: Path) -> None:
    """Copy a file of the server's directory by version 4 of NFS, which dials 2049 and asks no portmapper. Raises
    CallFailed."""
    _libnfs(host, at, "nfs-cp", f"{_url(Path(_PSEUDO, name))}?version=4", str(local))


def writes(host: Host, at: Address, local: Path, remote: Path) -> None:
    """Copy a file to the server. Raises CallFailed."""
    _libnfs(host, at, "nfs-cp", str(local), _url(remote))


def connection(at: Address, port: int) -> socket.socket:
    """A connection to a service, for those that it serves for long."""
    return socket.create_connection((str(at), port), SECONDS)


def is_served(connection: socket.socket) -> bool:
    """Whether NFS answers a NULL call there."""
    connection.sendall(record(b"".join(map(number, (1, 0, 2, *PROGRAMS["nfs"], 0, 0, 0, 0, 0)))))
    return connection.recv(1000)[4:12] == number(1) + number(1)
