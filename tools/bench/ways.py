"""The ways to carry an FTP session over a gateway, each with a lab of its own, a server and clients ready."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tools.bench.orders import READY
from tools.lab import Daemon, Host, Lab
from tools.lab import pinhole as serving
from tools.lab.daemon import ROOT
from tools.peers.programs import found

ORDER_SECONDS = 90.0
TICKS = os.sysconf("SC_CLK_TCK")
DESCRIPTORS = 20_000
MARK = 1
HAPROXY_PORT, FTP_PROXY_PORT, BULK_PORT = 5000, 2121, 2000


@dataclass(slots=True)
class Way:
    name: str
    lab: Lab
    clients: Clients
    gateway: int | None
    """Pid of the process that carries the sessions; None: the kernel does."""
    daemon: Daemon | None = None

    def cpu_seconds(self) -> float:
        """Of the gateway's process, its threads and its children that have ended; 10 ms is the smallest step."""
        if self.gateway is None:
            return 0.0
        fields = Path(f"/proc/{self.gateway}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS  # utime, stime, cutime, cstime (proc(5))

    def resident_bytes(self) -> int:
        return 0 if self.gateway is None else resident_bytes(self.gateway)


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process that it has now, by the scheduler's own account, which knows no smallest step."""
    paths = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Clients:
    """Processes on the client's host that do what they are told (`tools.bench.client`)."""

    def __init__(self, lab: Lab) -> None:
        """Also starts the server. Returns when both are ready."""
        start_program(lab.server, "tools.bench.server", str(lab.server.v4))
        self._process = start_program(lab.client, "tools.bench.client", str(lab.server.v4))

    def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """One of the functions of `tools.bench.client`. RuntimeError when it fails or takes too long."""
        return give_order(self._process, do, **arguments)


def start_program(host: Host, module: str, *arguments: str) -> subprocess.Popen[str]:
    """One that reads orders on the host, when it is ready. RuntimeError when it does not start."""
    process: subprocess.Popen[str] = host.popen(
        ["prlimit", f"--nofile={DESCRIPTORS}", sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if _line(process.stdout) != f"{READY}\n":
        raise RuntimeError(f"{module} does not start")
    return process


def give_order(process: subprocess.Popen[str], do: str, **arguments: Any) -> dict[str, Any]:
    """To such a program. RuntimeError when it fails or takes too long."""
    assert process.stdin
    process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(_line(process.stdout) or '{"error": "the program has ended"}')
    if "error" in answer:
        raise RuntimeError(f"{do}: {answer['error']}")
    return answer


def _line(stream: IO[str] | None) -> str:
    assert stream
    if not select.select([stream], [], [], ORDER_SECONDS)[0]:
        raise RuntimeError(f"no answer within {ORDER_SECONDS:.0f} s")
    return stream.readline()


def _hosts_for_load(lab: Lab) -> None:
    # Tens of thousands of connections between two addresses: their ports must not run out in TIME-WAIT.
    for host in (lab.client, lab.server, lab.gateway):
        host.sysctl("ipv4.ip_local_port_range", "30000 65535")
        host.sysctl("ipv4.tcp_tw_reuse", 1)
        host.sysctl("ipv4.tcp_max_syn_backlog", 8192)
        host.sysctl("core.somaxconn", 8192)
        # A machine's default may be BBR, which paces each connection by timers: those would be measured then. Without
        # loss Reno does as CUBIC does, and a namespace may always choose it.
        host.sysctl("ipv4.tcp_congestion_control", "reno")


@contextlib.contextmanager
def kernel(ports: str = "21") -> Iterator[Way]:
    """The kernel's own connection tracking helper and NAT. Only these ports pass, and what it relates to a session."""
    with Lab("nat") as lab:
        _hosts_for_load(lab)
        lab.firewall(
            f"""
            table inet gateway {{
                ct helper ftp {{ type "ftp" protocol tcp; l3proto inet; }}
                chain helper {{ type filter hook prerouting priority filter; tcp dport 21 ct helper set "ftp"; }}
                chain forward {{
                    type filter hook forward priority filter; policy drop;
                    ct state established,related accept
                    iifname lan0 tcp dport {{ {ports} }} accept
                }}
                chain nat {{ type nat hook postrouting priority srcnat; oifname wan0 masquerade; }}
            }}
            """
        )
        yield Way("kernel", lab, Clients(lab), None)


@contextlib.contextmanager
def pinhole(name: str, snat: str, tree: Path = ROOT) -> Iterator[Way]:
    """snat: `interface` (what masquerade does) or `none`. tree: the checkout whose pinhole it is. Nothing is forwarded,
    so nothing passes it by."""
    text = f"""
version: 1
policies: [{{name: lan-out, from: [lan0], action: accept, snat: {snat}}}]
limits: {{sessions: {DESCRIPTORS}, sessions_per_client: {DESCRIPTORS}}}
"""
    with Lab("routed" if snat == "none" else "nat") as lab:
        _hosts_for_load(lab)
        with serving(lab, text, unprivileged=True, tree=tree, nofile=DESCRIPTORS) as daemon:
            daemon.lock_down()
            yield Way(name, lab, Clients(lab), daemon.pid, daemon)


@contextlib.contextmanager
def haproxy(beside: Way, port: int = BULK_PORT) -> Iterator[Way]:
    """HAProxy, transparent on both sides, with splice. It carries bare connections to one port of the server's.

    On the gateway of another way, without NAT, between the same programs: labs differ by more than these two do.
    """
    settings = f"""
global
    maxconn 1000
    maxpipes 1000
    tune.pipesize 1048576
defaults
    mode tcp
    option splice-request
    option splice-response
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen bulk
    bind 127.0.0.1:{HAPROXY_PORT} transparent
    source 0.0.0.0 usesrc clientip
    server original 0.0.0.0
"""
    lab = beside.lab
    with tempfile.TemporaryDirectory() as directory:
        lab.gateway.run(["ip", "rule", "add", "fwmark", str(MARK), "lookup", "100"])
        lab.gateway.run(["ip", "route", "add", "local", "default", "dev", "lo", "table", "100"])
        lab.firewall(
            f"""
            table inet haproxy {{
                chain prerouting {{
                    type filter hook prerouting priority mangle - 1;
                    tcp sport {port} socket transparent 1 meta mark set {MARK} accept
                    iifname lan0 tcp dport {port} socket transparent 1 meta mark set {MARK} accept
                    iifname lan0 meta nfproto ipv4 tcp dport {port} meta mark set {MARK} \
                        tproxy ip to 127.0.0.1:{HAPROXY_PORT} accept
                }}
            }}
            insert rule inet lock_down input meta mark {MARK} accept
            """
        )
        path = Path(directory, "haproxy.cfg")
        path.write_text(settings)
        process = lab.gateway.popen([_program("haproxy"), "-db", "-q", "-f", path])
        _wait_for_listener(lab, HAPROXY_PORT, process)
        yield Way("haproxy", lab, beside.clients, process.pid)


@contextlib.contextmanager
def ftp_proxy() -> Iterator[Way]:
    """Debian's ftp-proxy: a process for each session, every byte through it."""
    with Lab("nat") as lab, tempfile.TemporaryDirectory() as directory:
        _hosts_for_load(lab)
        lab.firewall(
            f"""
            table inet gateway {{
                chain nat {{
                    type nat hook prerouting priority dstnat;
                    iifname lan0 tcp dport 21 redirect to :{FTP_PROXY_PORT}
                }}
                chain forward {{ type filter hook forward priority filter; policy drop; }}
            }}
            """
        )
        path = Path(directory, "ftp-proxy.conf")
        # Its own limits are those of another time: 40 sessions a minute, 64 at once.
        path.write_text(
            f"""
[-Global-]
ServerType standalone
AllowTransProxy yes
DestinationAddress {lab.server.v4}
Port {FTP_PROXY_PORT}
ForkLimit 10000000
MaxClients 4096
LogDestination {directory}/log
LogLevel INF
"""
        )
        process = lab.gateway.popen([_program("ftp-proxy"), "-n", "-f", path])
        _wait_for_listener(lab, FTP_PROXY_PORT, process)
        yield Way("ftp-proxy", lab, Clients(lab), process.pid)


def _program(name: str) -> str:
    if (path := found(name)) is None:
        raise RuntimeError(f"{name} is not there; `tools/setup --bench` gets it")
    return path


def _wait_for_listener(lab: Lab, port: int, process: subprocess.Popen[Any]) -> None:
    """Until the gateway listens there."""
    while process.poll() is None:
        if lab.gateway.run(["ss", "-Hltn", f"sport = :{port}"]).stdout:
            return
    raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
