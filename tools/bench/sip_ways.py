"""The ways to carry SIP calls over a gateway that hides its clients, each with a lab of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.bench import ways
from tools.bench.ways import give_order, start_program
from tools.lab import Daemon, Lab
from tools.lab import pinhole as serving
from tools.lab.daemon import ROOT, KernelPath
from tools.peers import kamailio
from tools.peers.programs import found

DESCRIPTORS = min(200_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
"""Of one process; more than the limit of this machine only an administrator of it can give."""
SECONDS = 20
CONTROL_PORT = 2223
MEDIA_PORTS = (20_000, 59_999)
WORKERS = 4
"""Processes of Kamailio, and threads of rtpengine: two for each core of a small machine."""
_MOST = 100_000


@dataclass(slots=True)
class Way:
    name: str
    lab: Lab
    gateway: Mapping[str, int] = field(default_factory=dict)
    """By name, the process that leads a session of all that belong to it. Empty: the kernel carries the calls."""
    daemon: Daemon | None = None

    def cpu_seconds(self, *names: str) -> float:
        """Of the gateway's processes, all of them or these; system calls included."""
        return sum(map(ways.cpu_seconds, self._processes(names)))

    def resident_bytes(self) -> int:
        return sum(map(ways.resident_bytes, self._processes(())))

    def _processes(self, names: tuple[str, ...]) -> Iterator[int]:
        """The pid of each."""
        leaders = {str(pid) for name, pid in self.gateway.items() if not names or name in names}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                stat = path.read_text().rpartition(")")[2].split()
                if stat[3] in leaders:
                    yield int(path.parent.name)


class Phones:
    """On the client's host and the server's (`tools.bench.phones`)."""

    def __init__(self, lab: Lab) -> None:
        """Returns when they are ready."""
        server = str(lab.server.v4)
        self._callee = start_program(lab.server, "tools.bench.phones", "callee", server, server)
        self._caller = start_program(lab.client, "tools.bench.phones", "caller", str(lab.client.v4), server)

    def caller(self, do: str, **arguments: Any) -> dict[str, Any]:
        """One of its methods. RuntimeError when it fails or takes too long."""
        return give_order(self._caller, do, **arguments)

    def callee(self, do: str, **arguments: Any) -> dict[str, Any]:
        return give_order(self._callee, do, **arguments)

    def hold(self, count: int, kind: str) -> int:
        """So many more calls; the number of the first one."""
        first: int = self.caller("hold", count=count, kind=kind)["first"]
        return first

    def close(self) -> None:
        for process in (self._caller, self._callee):
            process.kill()
            process.wait()


def _for_load(lab: Lab) -> None:
    # Bursts wait in the sockets' buffers, of all programs alike.
    for name in ("rmem_max", "rmem_default"):
        path = Path("/proc/sys/net/core", name)
        if int(path.read_text()) < 1 << 22:
            path.write_text(str(1 << 22))
    for host in lab.hosts.values():
        # What is behind the end of the range is for media.
        host.sysctl("ipv4.ip_local_port_range", "60000 65535")


@contextlib.contextmanager
def forwarding() -> Iterator[Way]:
    """No firewall, no NAT, nothing that is tracked: calls pass as all else does."""
    with Lab("routed") as lab:
        _for_load(lab)
        yield Way("forwarding", lab)


@contextlib.contextmanager
def kernel() -> Iterator[Way]:
    """The kernel's own connection tracking helper for SIP, and its NAT. Only what they relate to a call passes."""
    with Lab("nat") as lab:
        _for_load(lab)
        lab.firewall(
            """
            table inet gateway {
                ct helper sip { type "sip" protocol udp; l3proto inet; }
                chain helper { type filter hook prerouting priority filter; udp dport 5060 ct helper set "sip"; }
                chain forward {
                    type filter hook forward priority filter; policy drop;
                    ct state established,related accept
                    iifname lan0 udp dport 5060 accept
                    # The helper remembers the media of a few calls of one pair of hosts: all others pass as they come.
                    iifname lan0 udp dport 10000-65535 accept
                }
                chain nat { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }
            }
            """
        )
        yield Way("kernel", lab)


@contextlib.contextmanager
def pinhole(
    name: str = "pinhole", tree: Path = ROOT, under: tuple[str, ...] = (), kernel_path: KernelPath = "off"
) -> Iterator[Way]:
    """As an ordinary user with two capabilities, `snat: interface`. tree: the checkout whose pinhole it is. under: a
    command that runs it and measures it. kernel_path: of media. Nothing is forwarded, so nothing passes it by."""
    text = f"""
version: 1
policies:
  - name: lan-out
    from: [lan0]
    action: accept
    snat: interface
    options: {{sip: {{max_calls: {_MOST}}}}}
ports: {MEDIA_PORTS[0]}-{MEDIA_PORTS[1]}
limits: {{pinholes: {_MOST}, pinholes_per_session: {_MOST}, pinholes_per_client: {_MOST}}}
"""
    with Lab("nat") as lab:
        _for_load(lab)
        with serving(
            lab, text, unprivileged=True, tree=tree, under=under, kernel_path=kernel_path, nofile=DESCRIPTORS
        ) as daemon:
            daemon.lock_down()
            yield Way(name, lab, {"pinhole": daemon.pid}, daemon)


_KAMAILIO = """#!KAMAILIO
debug=0
log_stderror=yes
children={workers}
disable_tcp=yes
auto_aliases=no
mhomed=1
listen=udp:{lan}:5060
listen=udp:{wan}:5060
mpath="{modules}"
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "nathelper.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:{control}")
modparam("rr", "append_fromtag", 0)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) {{ rtpengine_delete(); t_relay(); }}
        exit;
    }}
    if (!is_method("ACK")) t_check_trans();
    if (is_method("BYE")) rtpengine_delete();
    if (!has_totag()) record_route();
    else {{ loose_route(); handle_ruri_alias(); }}
    if (is_method("INVITE")) {{
        if (src_ip == {lan}/24) set_contact_alias();
        if (has_body("application/sdp")) rtpengine_offer("{offer}");
        t_on_reply("answers");
    }}
    t_relay();
}}

onreply_route[answers] {{
    if (status =~ "(18[03])|(2[0-9][0-9])" && has_body("application/sdp")) rtpengine_answer("{answer}");
}}
"""


@contextlib.contextmanager
def kamailio_with_rtpengine() -> Iterator[Way]:
    """Debian's Kamailio, to which the gateway redirects what goes to port 5060, and rtpengine in user space."""
    with Lab("nat") as lab, tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        _for_load(lab)
        directory = Path(made)
        lan, wan = lab.gateway.address(4, "lan0"), lab.gateway.address(4, "wan0")
        program, engine = kamailio.find(), found("rtpengine")
        if program is None or engine is None:
            raise RuntimeError("kamailio or rtpengine is not there; `tools/setup --bench` gets them")
        libraries = kamailio.libraries_of(program)
        # Nothing else is redirected; what the server sends to the gateway itself arrives without that.
        lab.firewall(
            """
            table inet gateway {
                chain nat {
                    type nat hook prerouting priority dstnat;
                    iifname lan0 udp dport 5060 redirect
                }
                chain forward { type filter hook forward priority filter; policy drop; }
            }
            """
        )
        files = ("prlimit", f"--nofile={DESCRIPTORS}")
        relay = lab.gateway.popen(
            [
                *files,
                engine,
                "--foreground",
                "--log-stderr",
                "--log-level=3",
                "--table=-1",
                f"--interface=lan/{lan}",
                f"--interface=wan/{wan}",
                f"--listen-ng=127.0.0.1:{CONTROL_PORT}",
                f"--port-min={MEDIA_PORTS[0]}",
                f"--port-max={MEDIA_PORTS[1]}",
                f"--num-threads={WORKERS}",
                "--delete-delay=0",
                "--timeout=3600",
                "--silent-timeout=3600",
                "--offer-timeout=3600",
                f"--pidfile={made}/rtpengine.pid",
            ],
            stdout=stack.enter_context((directory / "rtpengine.log").open("wb")),
            stderr=subprocess.STDOUT,
        )
        terms = "replace-origin replace-session-connection ICE=remove"
        (directory / "kamailio.cfg").write_text(
            _KAMAILIO.format(
                workers=WORKERS,
                lan=lan,
                wan=wan,
                modules=libraries / "modules",
                control=CONTROL_PORT,
                offer=f"{terms} direction=lan direction=wan",
                answer=terms,
            )
        )
        lab.gateway.wait_until_bound("udp", CONTROL_PORT, relay, SECONDS)
        settings = ("-f", f"{made}/kamailio.cfg", "-Y", made, "-P", f"{made}/kamailio.pid", "-w", made)
        proxy = lab.gateway.popen(
            [*files, program, "-DD", "-E", "-m", "256", "-M", "16", *settings],
            stdout=stack.enter_context((directory / "kamailio.log").open("wb")),
            stderr=subprocess.STDOUT,
            env=os.environ | {"LD_LIBRARY_PATH": str(libraries)},
        )
        lab.gateway.wait_until_bound("udp", 5060, proxy, SECONDS)
        yield Way("kamailio", lab, {"kamailio": proxy.pid, "rtpengine": relay.pid})
