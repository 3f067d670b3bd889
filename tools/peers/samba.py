"""Real servers of DCE-RPC and clients of them: Samba as a member of nothing and as a domain controller, rpcclient, and
impacket.

Samba looks for its modules and data below /usr alone, so each of its programs runs in a mount namespace where what
tools/setup has unpacked is laid over that. Nothing of the host's own directories is written to.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers.ftp import SECONDS
from tools.peers.programs import UNPACKED

Address = IPv4Address | IPv6Address
PORT = 135
SAMBA = UNPACKED / "samba"
BESIDE = Path(__file__).parents[2] / ".cache" / "dcerpc"
"""Where tools/setup puts impacket."""
PYTHON = "/usr/bin/python3"

REALM, DOMAIN, PASSWORD = "LAB.EXAMPLE", "LABDOM", "Passw0rd.of.1ab"
ADMINISTRATOR = f"{DOMAIN}/Administrator%{PASSWORD}"
ANONYMOUS = "%"
PROVISION_SECONDS = 120.0
"""A domain is made in five seconds of processor time."""


class CallFailed(Exception):
    """A client has not got what it asked for; with its own words."""


def missing() -> str:
    """What the demo needs of all this and is not installed; empty when nothing is."""
    wanted = ("usr/bin/rpcclient", "usr/libexec/samba/samba-dcerpcd")
    return ", ".join(Path(name).name for name in wanted if not (SAMBA / name).exists())


# -- servers -----------------------------------------------------------------------------------------------------------

_OVERLAY = f"""
mount -t overlay overlay -o lowerdir={shlex.quote(str(SAMBA))}/usr:/usr /usr
for each in /run /var/lib /var/log /var/cache; do mount -t tmpfs none $each; mkdir $each/samba; done
"""

_MEMBER = """
mkdir /var/lib/samba/private
cat >/run/samba/conf <<END
[global]
    server role = standalone
    netbios name = FILES
    interfaces = {interfaces}
    bind interfaces only = yes
    map to guest = Bad User
    rpc start on demand helpers = no
END
exec samba-dcerpcd -F --no-process-group --debug-stdout --libexec-rpcds -s /run/samba/conf
"""

_CONTROLLER = """
samba-tool domain provision --realm={realm} --domain={domain} --server-role=dc --dns-backend=NONE \
    --adminpass={password} --host-name=dc1 --host-ip={host} --targetdir=/run/samba/ad \
    --option="interfaces={interfaces}" --option="bind interfaces only=yes" --option="server services=rpc" \
    --option="xattr_tdb:file=/run/samba/xattr.tdb" --option="vfs objects=dfs_samba4 acl_xattr xattr_tdb"
exec samba -F --no-process-group -s /run/samba/ad/etc/smb.conf
"""


@dataclass(frozen=True, slots=True)
class Server:
    host: Host
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def _serving(host: Host, script: str, seconds: float, ports: int) -> Iterator[Server]:
    """ports: how many endpoints stand when all of it has begun."""
    with tempfile.TemporaryFile() as output:
        text = f"{_OVERLAY}\nPATH=$PATH:/usr/sbin:/usr/libexec/samba\n{script}"
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", text]
        process = host.popen(command, stdout=output, stderr=output)
        try:
            try:
                host.wait_until_bound("tcp", PORT, process, seconds, _PLACES)
                for port in range(49152, 49152 + ports):
                    host.wait_until_bound("tcp", port, process, sockets=_PLACES)
            except TimeoutError as late:
                output.seek(0)
                raise CallFailed(output.read().decode(errors="replace")[-2000:]) from late
            yield Server(host, process)
        finally:
            host.end(process, 0)  # all of them are killed with the first one


_PLACES = 4
"""At how many addresses each port is: at those of the host, and at both of loopback."""


def _interfaces(host: Host) -> str:
    return f"{host.v4}/24 {host.v6}/64 lo"


@contextlib.contextmanager
def member(host: Host) -> Iterator[Server]:
    """An endpoint mapper with the services of a file server, for anybody."""
    with _serving(host, _MEMBER.format(interfaces=_interfaces(host)), SECONDS, 3) as server:
        yield server


@contextlib.contextmanager
def controller(host: Host) -> Iterator[Server]:
    """A domain controller of a domain of its own."""
    words = {"realm": REALM, "domain": DOMAIN, "password": PASSWORD, "host": host.v4}
    script = _CONTROLLER.format(**words, interfaces=_interfaces(host))
    with _serving(host, script, PROVISION_SECONDS, 3) as server:
        yield server


# -- clients -----------------------------------------------------------------------------------------------------------


def _run(host: Host, command: list[str], seconds: float, env: Mapping[str, str] | None = None) -> str:
    try:
        done = host.run(command, check=False, timeout=seconds, env=env)
    except subprocess.TimeoutExpired as late:
        raise CallFailed(f"{command[-1]}: no end") from late
    if done.returncode:
        raise CallFailed(f"{command[-1]}: {done.stdout}{done.stderr}")
    return done.stdout


def rpcclient(
    host: Host, at: Address, command: str, user: str = ANONYMOUS, protection: str = "", seconds: float = SECONDS
) -> str:
    """What rpcclient says. It asks the endpoint mapper itself. protection: `sign` or `seal`. Raises CallFailed."""
    binding = f"ncacn_ip_tcp:{at}" + (f"[{protection}]" if protection else "")
    words = ["rpcclient", "-s", "/run/samba/conf", "-U", user, binding, "-c", command]
    text = f"{_OVERLAY}\n: >/run/samba/conf\nexec {shlex.join(words)}"
    return _run(host, ["unshare", "--mount", "sh", "-ec", text], seconds)


def impacket(host: Host, script: str, *arguments: object, seconds: float = SECONDS) -> str:
    """What a script says that uses impacket. Raises CallFailed."""
    env = {**os.environ, "PYTHONPATH": str(BESIDE)}
    return _run(host, [PYTHON, "-c", script, *map(str, arguments)], seconds, env)


_MAP = """
import sys
from impacket import uuid
from impacket.dcerpc.v5 import epm
_, at, name, version = sys.argv
print(epm.hept_map(at, uuid.uuidtup_to_bin((name, version)), protocol="ncacn_ip_tcp"))
"""


def maps(host: Host, at: Address, interface: str, version: str = "1.0") -> int:
    """The port at which impacket finds an interface. Raises CallFailed."""
    said = impacket(host, _MAP, at, interface, version)
    return int(said.strip().rpartition("[")[2].rstrip("]"))


def wait_for(host: Host, at: Address, command: str, user: str, seconds: float = SECONDS) -> None:
    """Until a server answers rpcclient."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(CallFailed):
            rpcclient(host, at, command, user)
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{at} does not answer {command}")
