"""Media through the kernel path beside plain forwarding, an ordinary router's, and a line without a gateway.

What is compared is the CPU that a packet takes from the sender's `sendmmsg` to the server's interface, which drops it:
hosts are namespaces of one machine, and the kernel does all of that in the sender's context, on one processor. So the
figures are of the gateway's work, whoever else is busy on the machine, and one over them is the rate of a processor
that does nothing else. All ways have the same hosts, and take turns in pieces of a fraction of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.ebpf import program, syscall, tables
from proxy.ebpf.tables import Row, Rows
from tools.bench.rounds import Bar, Packets, Progress, at_least, at_most, in_turn, machine, ranged, ratios
from tools.bench.ways import give_order, start_program
from tools.lab import Host, Lab

LINE, FORWARDING, ROUTER, KERNEL_PATH = "line", "forwarding", "conntrack, masquerade", "kernel path"
WAYS = (LINE, FORWARDING, ROUTER, KERNEL_PATH)
STREAMS = FEW, MANY, MOST = 100, 1000, 50_000
FIRST_PORT, SERVER_PORT = 10_000, 9
SPARE_ROWS = 1000
"""Those of the way before may still rest."""
STILL_SECONDS = 0.05
"""No packet comes for so long: none is under way."""
_SINK = """
table netdev sink {
    counter got { }
    chain eth0 { type filter hook ingress device eth0 priority 0; meta l4proto udp counter name got drop; }
    chain line0 { type filter hook ingress device line0 priority 0; meta l4proto udp counter name got drop; }
}
"""
_ROUTER = """
table inet router {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname lan0 accept
    }
    chain nat { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }
}
"""

LEAST_RATE, LEAST_RATE_OF_ROUTER = 0.95, 1.2
MOST_OF_MANY_ROWS = 1.2
MOST_IN_SECONDS, MOST_OUT_SECONDS = 10e-6, 5e-6


FULL = Packets(rounds=15, packets=200_000)
QUICK = Packets(rounds=5, packets=100_000)


@dataclass(slots=True)
class Figures:
    """One way's, a value for each round."""

    cpu: dict[int, list[float]] = field(default_factory=lambda: {streams: [] for streams in STREAMS})
    """Seconds for a packet, by the number of streams."""
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Packets
    figures: dict[str, Figures]
    row_in: list[float]
    row_out: list[float]
    """Seconds for a row."""
    bars: list[Bar]


def rows(report: Report) -> Iterator[tuple[str, ...]]:
    """The lines of a table: of each way, with each number of streams, microseconds and how many of them are the
    gateway's, with their ranges."""
    line = report.figures[LINE]
    for way, figures in report.figures.items():
        for streams, cpu in figures.cpu.items():
            own = beyond(cpu, line.cpu[streams])
            yield way, str(streams), ranged(cpu), "" if way == LINE else ranged(own)


class Bench:
    """The hosts, and what turns one way into another."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        lab.client.run(["ip", "link", "add", "line0", "type", "veth", "peer", "line0", "netns", lab.server.netns])
        for host in (lab.client, lab.server):
            host.run(["ip", "link", "set", "line0", "up"])
        lab.server.run(["nft", "-f", "-"], stdin=_SINK)
        lab.gateway.sysctl("ipv4.ip_forward", 1)
        server = _mac(lab.server, "eth0")  # known, so that no packet has to wait for an answer
        lab.gateway.run(["ip", "neigh", "replace", str(lab.server.v4), "lladdr", server, "dev", "wan0"])
        self._flood = start_program(lab.client, "tools.bench.flood")
        self._tables = tables.make_tables(2 * max(STREAMS) + SPARE_ROWS)
        self._rows = Rows(self._tables)
        self._program = program.load(self._tables, has_mac=True)
        self.row_in: list[float] = []
        self.row_out: list[float] = []
        self._prepare()

    def _prepare(self) -> None:
        server, gateway = str(self._lab.server.v4), str(self._lab.gateway.address(4, "lan0"))
        macs = {LINE: _mac(self._lab.server, "line0"), KERNEL_PATH: _mac(self._lab.gateway, "lan0")}
        for streams in STREAMS:
            for way in WAYS:
                ports = range(FIRST_PORT, FIRST_PORT + streams)
                ends = [(gateway, port) if way == KERNEL_PATH else (server, SERVER_PORT) for port in ports]
                self._order(
                    "prepare",
                    name=f"{way} {streams}",
                    interface="line0" if way == LINE else "eth0",
                    mac=macs.get(way, macs[KERNEL_PATH]),
                    streams=[(str(self._lab.client.v4), port, *end) for port, end in zip(ports, ends, strict=True)],
                )

    def _order(self, do: str, **arguments: Any) -> dict[str, Any]:
        return give_order(self._flood, do, **arguments)

    def measure(self, way: str, streams: int, packets: int) -> tuple[float, int]:
        """Seconds of CPU for a packet, and how many were lost."""
        with self._as(way, streams) as rows:
            self._order("send", name=f"{way} {streams}", packets=streams)  # the first of a stream is another matter
            before, passed = self._arrived(), _passed(rows)
            spent = self._order("send", name=f"{way} {streams}", packets=packets)["cpu"]
            arrived = self._arrived() - before
            if rows and _passed(rows) - passed != arrived:
                raise RuntimeError(f"{arrived} packets have arrived, and {_passed(rows) - passed} are counted")
        return spent / arrived, packets - arrived

    @contextlib.contextmanager
    def _as(self, way: str, streams: int) -> Iterator[list[Row]]:
        """The gateway carries packets this way for a while. Returns the rows that it has for that."""
        if way == ROUTER:
            self._lab.firewall(_ROUTER)
            yield []
            self._lab.firewall("delete table inet router")
        elif way == KERNEL_PATH:
            with self._lab.gateway.inside():
                links = [syscall.link(self._program, socket.if_nametoindex(name)) for name in ("lan0", "wan0")]
            began = time.thread_time()
            rows = self._put(streams)
            self.row_in.append((time.thread_time() - began) / streams)
            yield rows
            began = time.thread_time()
            for row in rows:
                row.take_back()
            self.row_out.append((time.thread_time() - began) / streams)
            for link in links:
                os.close(link)
        else:
            yield []

    def _put(self, streams: int) -> list[Row]:
        client, server = str(self._lab.client.v4), (str(self._lab.server.v4), SERVER_PORT)
        lan, wan = (str(self._lab.gateway.address(4, name)) for name in ("lan0", "wan0"))
        with self._lab.gateway.inside():
            interface = socket.if_nametoindex("lan0")
        found = []
        for port in range(FIRST_PORT, FIRST_PORT + streams):
            row = self._rows.put((client, port), (lan, port), (wan, port), server, interface)
            if row is None:
                raise RuntimeError("there are too few rows")
            found.append(row)
        return found

    def _arrived(self) -> int:
        """How many packets have, once no more do: on a busy machine the last ones wait for a thread of the kernel."""
        before = -1
        while (count := self._counted()) != before:
            before = count
            time.sleep(STILL_SECONDS)
        return count

    def _counted(self) -> int:
        said = self._lab.server.run(["nft", "list", "counter", "netdev", "sink", "got"]).stdout
        count = re.search(r"packets (\d+)", said)
        assert count
        return int(count[1])

    def close(self) -> None:
        self._rows.close()
        self._tables.close()
        os.close(self._program)
        self._flood.kill()
        self._flood.wait()


def _passed(rows: list[Row]) -> int:
    return sum(row.counts()[0] for row in rows)


def _mac(host: Host, interface: str) -> str:
    found: str = json.loads(host.run(["ip", "-j", "link", "show", interface]).stdout)[0]["address"]
    return found


def run(effort: Packets, say: Progress) -> Report:
    """Build the lab, measure, take it down. Raises RuntimeError when a way does not carry what it should."""
    figures = {way: Figures() for way in WAYS}
    with Lab("routed") as lab:
        say("preparing the packets")
        bench = Bench(lab)
        try:
            for number in range(effort.rounds):
                for streams in STREAMS:
                    say(f"round {number + 1} of {effort.rounds}: {streams} streams")
                    for way in in_turn(WAYS, number):
                        cpu, lost = bench.measure(way, streams, effort.packets)
                        figures[way].cpu[streams].append(cpu)
                        figures[way].lost += lost
        finally:
            bench.close()
    return Report(machine(), effort, figures, bench.row_in, bench.row_out, _bars(figures, bench))


def _bars(figures: dict[str, Figures], bench: Bench) -> list[Bar]:
    bars = []
    for streams in (FEW, MANY):
        line, forwarding, router, path = (figures[way].cpu[streams] for way in WAYS)
        for name, other, least in ((FORWARDING, forwarding, LEAST_RATE), (ROUTER, router, LEAST_RATE_OF_ROUTER)):
            bars.append(at_least(f"rate beside {name}, {streams} streams", ratios(other, path), least))
        more = ratios(beyond(path, line), beyond(forwarding, line))
        bars.append(at_most(f"CPU beyond a line, beside forwarding's, {streams} streams", more, 1.0))
    line_cpu, path_cpu = figures[LINE].cpu, figures[KERNEL_PATH].cpu
    own = {streams: beyond(path_cpu[streams], line_cpu[streams]) for streams in (MANY, MOST)}
    for name, cpu in (("CPU", path_cpu), ("CPU beyond a line", own)):
        more = ratios(cpu[MOST], cpu[MANY])
        bars.append(at_most(f"{name} with {MOST} rows beside {MANY}", more, MOST_OF_MANY_ROWS))
    for name, seconds, most in (("in", bench.row_in, MOST_IN_SECONDS), ("out", bench.row_out, MOST_OUT_SECONDS)):
        bars.append(at_most(f"row {name}, µs", [each * 1e6 for each in seconds], most * 1e6, "{:.0f}"))
    return bars


def beyond(way: list[float], line: list[float]) -> list[float]:
    """What each round took beyond the line of the same round."""
    return [spent - least for spent, least in zip(way, line, strict=True)]
