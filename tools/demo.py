"""pinhole as the gateway of a lab, between real clients and servers: `python -m tools.demo`, as root.

The gateway drops all that pinhole does not carry. It routes, then hides its clients, then publishes a server; in each
role ordinary clients talk to ordinary servers of every helper: files are transferred, registered phones are called. At
the end: what was transferred and heard, what was rewritten, which pinholes were open, and the audit log that says so.
The exit status is 0 when all of it went well.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from protocols import HELPERS
from protocols.contract.addresses import Endpoint
from proxy.command.terminal import print_rows
from tools.lab import gateways
from tools.lab.gateways import BACKENDS, ROLES, BackendName, Gateway
from tools.peers import audio, baresip, nfs, oracle, tns_packets
from tools.peers import dns as dns_peers
from tools.peers import ftp as peers
from tools.peers import irc as irc_peers
from tools.peers import mgcp as mgcp_peers
from tools.peers import rsh as rsh_peers
from tools.peers import rtsp as rtsp_peers
from tools.peers import tftp as tftp_peers
from tools.peers.baresip import CallFailed, phone
from tools.peers.ftp import CLIENTS, MODES, SERVERS, AbortGet, Get, List, Put, Step, TransferFailed
from tools.peers.kamailio import find, kamailio

MEBIBYTE = 1024 * 1024
FILE_BYTES = 16 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Job:
    """One session, or several, of a client with a server. `run` returns what came of it, as cells of a table; it raises
    TransferFailed, CallFailed or OSError when that did not work."""

    server: str
    client: str
    how: str
    run: Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """For one helper: what its jobs are called together, how many there are at a gateway, and the jobs; each is run
    before the next is taken."""

    title: str
    count: int
    jobs: Callable[[Gateway, Path], Iterator[Job]]


@dataclass(slots=True)
class Report:
    """What is told at the end."""

    done: dict[str, list[dict[str, Any]]]
    """Each job, by the title of its demonstration."""
    log: list[dict[str, Any]]
    """Lines of the audit log, and to each the role of the gateway."""
    faults: list[str]


# -- FTP ---------------------------------------------------------------------------------------------------------------


FTP_SERVERS = tuple(name for name in SERVERS if name != "pyftpdlib" or peers.has_pyftpdlib())


def ftp(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """Every server with every client. Modes take turns, so that all are seen before one is seen again."""
    source = directory / "source"
    with source.open("wb") as file:
        for _ in range(FILE_BYTES // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
    expected = checksum(source)
    turn = ROLES.index(gateway.role) * len(FTP_SERVERS)
    for number, name in enumerate(FTP_SERVERS, turn):
        with SERVERS[name](gateway.server) as server:
            shutil.copyfile(source, server.home / "file")
            for other, client in enumerate(CLIENTS):
                modes = [mode for mode in MODES if client.supports(mode)]
                mode = modes[(number + 2 * other) % len(modes)]
                yield _ftp_job(gateway, server, client, mode, directory, expected)


def _ftp_job(
    gateway: Gateway, server: peers.Server, client: peers.Client, mode: peers.Mode, directory: Path, expected: str
) -> Job:
    names, down = directory / "names", directory / "down"
    steps: Sequence[Step] = (
        List(names),
        Get("file", down),
        AbortGet("file"),
        Put(directory / "source", "incoming/file"),
    )

    def run() -> Mapping[str, str]:
        for left in (names, down, server.home / "incoming/file"):
            left.unlink(missing_ok=True)
        client.do(gateway.client, gateway.dialled(mode.version), server.login, mode, steps)
        if "file" not in names.read_text().split():
            raise TransferFailed(f"the list of names is {names.read_text()!r}")
        for path, what in ((down, "download"), (server.home / "incoming/file", "upload")):
            if checksum(path) != expected:
                raise TransferFailed(f"the {what} of {path.stat().st_size} bytes differs from its source")
        size = f"{FILE_BYTES // MEBIBYTE} MiB"
        return {"downloaded": size, "uploaded": size, "checksums": f"equal ({expected[:8]}…)", "aborted": "1, went on"}

    return Job(server.name, client.name, str(mode), run)


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- SIP ---------------------------------------------------------------------------------------------------------------


PHONES: tuple[tuple[Literal["udp", "tcp"], int], ...] = (("udp", 4), ("tcp", 6))
"""By which transport, over which IP version they signal."""
SAID_FRAMES = 50
"""A second of audio, of each phone."""


def sip(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A phone inside that has registered is called from outside. The registrar is where the gateway's servers are."""
    with kamailio(gateway.server):
        for transport, version in PHONES:
            yield _sip_job(gateway, transport, version)


def _sip_job(gateway: Gateway, transport: Literal["udp", "tcp"], version: int) -> Job:
    def run() -> Mapping[str, str]:
        with (
            phone(gateway.clients[0], "alice", gateway.dialled(version), transport) as alice,
            phone(gateway.neighbour, "bob", gateway.server.address(version), transport) as bob,
        ):
            inside, outside = (bob, alice) if gateway.role.hides_server else (alice, bob)
            outside.dial(inside.user)
            inside.wait_for("CALL_INCOMING")
            inside.answer()
            outside.wait_for("CALL_ESTABLISHED")
            heard = {}
            for listener, speaker, where in ((inside, outside, "inside"), (outside, inside, "outside")):
                frames = listener.hear(SAID_FRAMES)
                if not audio.run_of(frames, speaker.sent()):
                    raise CallFailed(f"{listener.user} did not hear what {speaker.user} said")
                heard[f"heard {where}"] = f"{len(frames) * audio.FRAME / audio.RATE:.1f}s"
            outside.hang_up()
            inside.wait_for("CALL_CLOSED")
        return {"called": inside.uri, **heard, "samples": "equal to those sent"}

    return Job("kamailio", "baresip", f"{transport}-ipv{version}", run)


# -- Oracle TNS --------------------------------------------------------------------------------------------------------


DRIVERS: tuple[tuple[Literal["synchronous", "asyncio"], int], ...] = (("synchronous", 4), ("asyncio", 6))
"""How the program of the client is written, over which IP version it connects."""
INSTANCE_PORT = 21522


def tns(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A driver connects to a listener, which leads it to an instance on another port."""
    for mode, version in DRIVERS:
        yield _tns_job(gateway, mode, version)


def _tns_job(gateway: Gateway, mode: Literal["synchronous", "asyncio"], version: int) -> Job:
    server, dialled = gateway.server, gateway.dialled(version)

    def run() -> Mapping[str, str]:
        where = tns_packets.address(server.address(version), INSTANCE_PORT)
        with (
            oracle.listening(server, version, 1521, lambda _, data: oracle.redirect(where, data)),
            oracle.listening(server, version, INSTANCE_PORT, lambda *_: oracle.accept()) as instance,
        ):
            said = oracle.connect(gateway.client, dialled, 1521, mode, until=instance.heard)
            if not instance.heard.is_set():
                raise TransferFailed(f"the instance was not reached: {said.strip()}")
        host, port = instance.at
        return {"dialled": f"{Endpoint(dialled, 1521)}", "reached": f"{Endpoint(ip_address(host), port)}"}

    return Job("listener", "oracledb", f"{mode}-ipv{version}", run)


# -- TFTP --------------------------------------------------------------------------------------------------------------


BOOTS: tuple[tuple[Literal["read", "write"], int], ...] = (("read", 4), ("write", 6))
"""What a client does, over which IP version."""
BOOT_BYTES = MEBIBYTE


def tftp(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A client reads a file, as one that boots does, and writes one, as a switch that saves what it was told."""
    source = directory / "boot"
    source.write_bytes(os.urandom(BOOT_BYTES))
    with tftp_peers.tftpd_hpa(gateway.server) as server:
        for how, version in BOOTS:
            yield _tftp_job(gateway, server, how, version, source)


def _tftp_job(
    gateway: Gateway, server: tftp_peers.Server, how: Literal["read", "write"], version: int, source: Path
) -> Job:
    at, there, here = gateway.dialled(version), server.home / "file", source.with_name("boot-here")

    def run() -> Mapping[str, str]:
        if how == "read":
            shutil.copyfile(source, there)
            tftp_peers.CURL.read(gateway.client, at, "file", here)
        else:
            tftp_peers.CURL.write(gateway.client, at, source, "written")
        moved = here if how == "read" else server.home / "written"
        if checksum(moved) != checksum(source):
            raise TransferFailed(f"the file of {moved.stat().st_size} bytes differs from its source")
        return {"moved": f"{BOOT_BYTES // MEBIBYTE} MiB", "checksums": f"equal ({checksum(source)[:8]}…)"}

    return Job(server.name, "curl", f"{how}-ipv{version}", run)


# -- RSH ---------------------------------------------------------------------------------------------------------------


COMMANDS: tuple[tuple[Literal["rsh", "rcp"], int], ...] = (("rsh", 4), ("rcp", 6))
"""With a connection back for errors or without, over which IP version."""


def rsh(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A command runs elsewhere, with its output and its errors, and a file is copied, as backups are."""
    hides, lab = gateway.role.hides_client, gateway.lab
    trusted = [lab.gateway.address(v, "wan0") if hides else gateway.client.address(v) for v in (4, 6)]
    source = directory / "backup"
    source.write_bytes(os.urandom(MEBIBYTE))
    with rsh_peers.netkit(gateway.server, trusted) as server:
        for how, version in COMMANDS:
            yield _rsh_job(gateway, server, how, version, source)


def _rsh_job(gateway: Gateway, server: rsh_peers.Server, how: Literal["rsh", "rcp"], version: int, source: Path) -> Job:
    def run() -> Mapping[str, str]:
        at, there = gateway.dialled(version), server.home / source.name
        if how == "rcp":
            rsh_peers.upload(gateway.client, at, source, there)
            if checksum(there) != checksum(source):
                raise TransferFailed(f"the file of {there.stat().st_size} bytes differs from its source")
            return {"copied": "1 MiB", "checksums": f"equal ({checksum(source)[:8]}…)"}
        said = rsh_peers.CLIENTS[0].run(gateway.client, at, "whoami; echo to errors >&2")
        if (said.output.strip(), said.errors.strip()) != (rsh_peers.USER.encode(), b"to errors"):
            raise TransferFailed(f"it said {said}")
        return {"ran as": said.output.decode().strip(), "errors": "apart from output"}

    return Job("rshd", "netkit", f"{how}-ipv{version}", run)


# -- MGCP --------------------------------------------------------------------------------------------------------------


MGCP_VERSIONS = (4, 6)
"""Over which version of IP an agent makes connections."""


def mgcp(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """An agent has a media gateway connect two phones of its host, which hear each other."""
    for version in MGCP_VERSIONS:
        with mgcp_peers.osmo_mgw(gateway.server, gateway.server.address(version)):
            yield Job("osmo-mgw", "agent", f"call-ipv{version}", partial(_connect, gateway, version))


def _connect(gateway: Gateway, version: int) -> Mapping[str, str]:
    host, at = gateway.client, gateway.client.address(version)
    found = str(gateway.dialled(version)), mgcp_peers.GATEWAY_PORT
    with (
        mgcp_peers.Speaker(host, at, mgcp_peers.AGENT_PORT) as agent,
        mgcp_peers.Phone(host, at, 6000) as one,
        mgcp_peers.Phone(host, at, 6002) as other,
    ):
        packets = mgcp_peers.converse(agent, found, one, other)
    return {"heard": f"{packets} packets", "at": str(gateway.dialled(version))}


# -- IRC ---------------------------------------------------------------------------------------------------------------


def irc(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A user behind the gateway sends a file to one who needs no gateway to reach the server, and chats."""
    with (
        irc_peers.ngircd(gateway.server),
        irc_peers.users(gateway.dialled(4), (irc_peers.PythonIrc, gateway.client, "alice")) as (alice,),
        irc_peers.users(gateway.server.v4, (irc_peers.PythonIrc, gateway.neighbour, "bob")) as (bob,),
    ):
        source = alice.home / "a file"
        source.write_bytes(os.urandom(MEBIBYTE))

        def send() -> Mapping[str, str]:
            alice.send(bob.nick, source)
            bob.wait_to_receive(source.name, source.read_bytes())
            return {"moved": "1 MiB", "checksums": f"equal ({checksum(source)[:8]}…)"}

        def chat() -> Mapping[str, str]:
            alice.chat(bob)
            return {"said": "a line of each, heard by the other"}

        yield Job("ngircd", "python-irc", "send-ipv4", send)
        yield Job("ngircd", "python-irc", "chat-ipv4", chat)


# -- DNS ---------------------------------------------------------------------------------------------------------------


ASKED: tuple[tuple[str, int], ...] = (("udp", 4), ("tcp", 6))
"""How a client asks, over which IP version."""


def dns(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A resolver asks for both addresses of a name at once, and from one port."""
    with dns_peers.unbound(gateway.server):
        for transport, version in ASKED:
            yield _dns_job(gateway, transport, version)


def _dns_job(gateway: Gateway, transport: str, version: int) -> Job:
    def run() -> Mapping[str, str]:
        found, seconds = dns_peers.resolve(gateway.client, gateway.dialled(version), "www.example", transport)
        if len(found) != 2:
            raise TransferFailed(f"www.example has the addresses {found}")
        return {"found": ", ".join(found), "answered after": f"{seconds * 1000:.0f} ms"}

    return Job("unbound", "glibc", f"{transport}-ipv{version}", run)


# -- RTSP --------------------------------------------------------------------------------------------------------------


PLAYED = (4, 6)
"""Over which version of IP a picture is played."""


def rtsp(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A player has a camera's picture sent to ports of its own."""
    with rtsp_peers.gst_server(gateway.server):
        for version in PLAYED:
            yield Job("gst-rtsp-server", "rtspsrc", f"udp-ipv{version}", partial(_play, gateway, version))


def _play(gateway: Gateway, version: int) -> Mapping[str, str]:
    rtsp_peers.RTSPSRC.play(gateway.client, gateway.dialled(version))
    return {"played": f"{rtsp_peers.PACKETS} packets", "at": str(gateway.dialled(version))}


# -- ONC RPC -----------------------------------------------------------------------------------------------------------


MOUNTS = (4, 6)
"""Over which IP versions a client reads a file."""


def pmap(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """A client asks a portmapper for mountd and NFS, and reads a file there."""
    try:
        with nfs.file_server(gateway.server) as server:
            (server.home / "file").write_bytes(os.urandom(MEBIBYTE))
            for version in MOUNTS:
                yield _pmap_job(gateway, server, version, directory / f"mounted-{version}")
    finally:  # services stand for a day after their use
        gateway.daemon.command("close", "--of", "pinholes", "--helper", "pmap", "-c", str(gateway.daemon.config))


def _pmap_job(gateway: Gateway, server: nfs.Server, version: int, here: Path) -> Job:
    def run() -> Mapping[str, str]:
        here.unlink(missing_ok=True)
        try:
            nfs.reads(gateway.client, gateway.dialled(version), server.home / "file", here)
        except nfs.CallFailed as error:
            raise TransferFailed(str(error)) from error
        if checksum(here) != checksum(server.home / "file"):
            raise TransferFailed(f"the file of {here.stat().st_size} bytes differs from its source")
        return {"read": "1 MiB", "checksums": f"equal ({checksum(here)[:8]}…)"}

    return Job("nfs-ganesha", "libnfs", f"ipv{version}", run)


DEMONSTRATIONS: Mapping[str, Demonstration] = {
    "ftp": Demonstration("Transferred", len(FTP_SERVERS) * len(CLIENTS), ftp),
    "sip": Demonstration("Called", len(PHONES), sip),
    "tns": Demonstration("Redirected", len(DRIVERS), tns),
    "tftp": Demonstration("Booted", len(BOOTS), tftp),
    "rsh": Demonstration("Commanded", len(COMMANDS), rsh),
    "mgcp": Demonstration("Connected", len(MGCP_VERSIONS), mgcp),
    "irc": Demonstration("Offered", 2, irc),
    "dns": Demonstration("Resolved", len(ASKED), dns),
    "rtsp": Demonstration("Played", len(PLAYED), rtsp),
    "pmap": Demonstration("Mounted", len(MOUNTS), pmap),
}


def missing() -> str:
    """What is not installed of all this; empty when nothing is."""
    absent = (
        peers.missing(),
        "baresip" if baresip.is_missing() else "",
        "" if find() else "kamailio",
        "" if oracle.has_driver() else "python-oracledb",
        tftp_peers.missing(),
        rsh_peers.missing(),
        mgcp_peers.missing(),
        irc_peers.missing(),
        dns_peers.missing(),
        rtsp_peers.missing(),
        nfs.missing(),
    )
    return ", ".join(filter(None, absent))


# -- all of it ---------------------------------------------------------------------------------------------------------


def demonstrate(backend: BackendName, log: Path, console: Console) -> Report:
    """Runs everything, with progress on the console; the audit log goes to a file."""
    report = Report({}, [], [f"{name}: nothing to show it with" for name in HELPERS if name not in DEMONSTRATIONS])
    total = len(ROLES) * sum(demonstration.count for demonstration in DEMONSTRATIONS.values())
    columns = (
        SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="pinhole-demo-files-") as directory,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task("", total=total)
        for role in ROLES:
            progress.update(task, description=f"{role.name}: the gateway starts")
            with gateways.serving(role, backend) as gateway:
                for demonstration in DEMONSTRATIONS.values():
                    for job in demonstration.jobs(gateway, Path(directory)):
                        words = f"{role.name}: {job.client} {job.how} {job.server}"
                        progress.update(task, description=words)
                        row = _do(job, gateway, report)
                        report.done.setdefault(demonstration.title, []).append(row)
                        progress.advance(task)
                        if not console.is_terminal:
                            console.print(f"{words}: {row['result']}", highlight=False)
                _keep(gateway, report, log)
    return report


def _do(job: Job, gateway: Gateway, report: Report) -> dict[str, Any]:
    row: dict[str, Any] = {
        "gateway": gateway.role.name, "server": job.server, "client": job.client, "how": job.how,
    }  # fmt: skip
    began = time.monotonic()
    try:
        row |= {"result": "ok", **job.run()}
    except (TransferFailed, CallFailed, OSError) as error:
        row["result"] = "FAILED"
        report.faults.append(f"{gateway.role.name}: {job.client} {job.how} {job.server}: {error}")
    row["took_seconds"] = time.monotonic() - began
    return row


def _keep(gateway: Gateway, report: Report, log: Path) -> None:
    """Take over the audit log, and look whether it agrees with what was done."""
    lines = gateway.log_after(0)
    gateway.daemon.stop()
    with log.open("a") as kept:
        kept.write(gateway.daemon.log.read_text())
    report.log += [{**line, "gateway": gateway.role.name} for line in lines]
    count = Counter(line["event"] for line in lines)
    for event in ("violation", "pinhole.refused", "engine.failed", "daemon.failed", "session.denied", "session.failed"):
        if count[event]:
            report.faults.append(f"{gateway.role.name}: the audit log has {count[event]} lines of {event}")
    if count["pinhole.opened"] != count["pinhole.closed"]:
        report.faults.append(
            f"{gateway.role.name}: {count['pinhole.opened']} pinholes opened, {count['pinhole.closed']} closed"
        )
    has_nat = gateway.role.hides_client or gateway.role.hides_server
    if bool(count["address.rewritten"]) != has_nat:
        report.faults.append(f"{gateway.role.name}: {count['address.rewritten']} addresses rewritten")


# -- tables ------------------------------------------------------------------------------------------------------------


def rewritten(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each kind of message at each gateway: how many, and the last one."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in log:
        if line["event"] != "address.rewritten":
            continue
        for change in line["changes"]:
            if change["before"] is None:  # a whole description, or what is beyond the most that a line tells
                continue
            of = {"gateway": line["gateway"], "message": line["message"], "field": change["field"]}
            row = rows.setdefault((*of.values(), _host(change["before"]), _host(change["after"])), {**of, "times": 0})
            row["times"] += 1
            row |= {"such as": change["before"], "became": change["after"]}
    return list(rows.values())


def opened(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pinholes by gateway, by what asked for them and by IP version: how many, for how long, and the last one."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    row_of: dict[tuple[str, str], dict[str, Any]] = {}
    for line in log:
        match line["event"]:
            case "pinhole.opened":
                version = "IPv6" if line["listen"].startswith("[") else "IPv4"
                start = {"gateway": line["gateway"], "asked by": line["trigger"], "": version, "opened": 0, "used": 0}
                start |= {"closed": 0, "carried": 0, "longest": 0.0}
                row = rows.setdefault((line["gateway"], line["trigger"], version), start)
                row["opened"] += 1
                row |= {"such as": line["listen"], "for": line["allow"], "to": line["target"]}
                row_of[line["gateway"], line["pinhole"]] = row
            case "pinhole.used":
                row_of[line["gateway"], line["pinhole"]]["used"] += 1
            case "pinhole.closed":
                row = row_of[line["gateway"], line["pinhole"]]
                row["closed"] += 1
                # One for signalling carries none itself: what comes by it is a session of its own.
                row["carried"] += line.get("bytes_in", 0) + line.get("bytes_out", 0)
                row["longest"] = max(row["longest"], line["duration_seconds"])
    for row in rows.values():
        row |= {"carried": _size(row["carried"]), "longest": f"{row['longest'] * 1000:.0f} ms"}
    return list(rows.values())


def _size(count: int) -> str:
    return f"{count / MEBIBYTE:.0f} MiB" if count >= MEBIBYTE else f"{count / 1024:.0f} KiB"


def _host(endpoint: str) -> str:
    """SIP leaves out a port that is the usual one."""
    return re.sub(r":\d+$", "", endpoint)


def show(report: Report, log: Path) -> None:
    tables = report.done | {"Rewritten": rewritten(report.log), "Pinholes": opened(report.log)}
    for title, rows in tables.items():
        click.secho(f"\n{title}\n", bold=True)
        print_rows(rows, empty="nothing")
    click.echo()
    for fault in report.faults:
        click.secho(fault, fg="red")
    jobs = [row for rows in report.done.values() for row in rows]
    well = sum(row["result"] == "ok" for row in jobs)
    click.echo(f"{well} of {len(jobs)} went well. Audit log: {log}")


@click.command(help=__doc__)
@click.option("--backend", type=click.Choice(BACKENDS), default="nft", show_default=True, help="Kind of rules.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Where to keep the audit log.")
def main(backend: BackendName, log: Path | None) -> None:
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")
    if absent := missing():
        raise click.ClickException(f"not installed: {absent}; `tools/setup --demo` does that")
    log = log or Path(tempfile.mkdtemp(prefix="pinhole-demo-")) / "audit.log"
    log.write_text("")
    report = demonstrate(backend, log, Console(stderr=True))
    show(report, log)
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
