"""Packets of GRE through a tunnel of PPTP: what one costs the gateway's process, and how many a processor carries.

One call of a client behind the gateway's address. Packets are sent in bursts that the socket's buffer holds, and each
burst is awaited at the server, so that none is lost; the process is asked for its CPU before and after. One over the
CPU of a packet is the rate of a processor that does nothing else, whoever is busy on the machine.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from tools.bench.case_pptp import CALL, PORT, message, packet, raw, start
from tools.bench.rounds import Bar, Packets, Progress, machine, ranged
from tools.bench.ways import cpu_seconds
from tools.lab import Lab, pinhole

SIZES = (64, 512, 1400)
"""Bytes that a packet carries."""
OUT = "to the server"
MOST_SECONDS = 14e-6
"""What a prototype took for a packet, with a look for each one."""
BURST = 100
IP_BYTES = 20
CLIENTS, SERVERS = 5, 9


FULL = Packets(rounds=15, packets=20_000)
QUICK = Packets(rounds=5, packets=5_000)


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Packets
    cpu: dict[str, dict[int, list[float]]]
    """Direction -> size -> seconds of a packet, a value for each round."""
    bars: list[Bar]


def rows(report: Report) -> Iterator[tuple[str, ...]]:
    """The lines of a table: the CPU of a packet with its range, and how many a processor carries a second."""
    for direction, sizes in report.cpu.items():
        for size, cpu in sizes.items():
            rate = 1 / median(cpu)
            bits = 8 * (IP_BYTES + len(packet(0, bytes(size))))
            yield direction, str(size), ranged(cpu, "{:.1f}"), f"{rate:,.0f}", f"{rate * bits / 1e9:.2f}"


class Ends:
    """Both ends of a call."""

    def __init__(self, lab: Lab) -> None:
        self._gateway, self._server = str(lab.gateway.v4), str(lab.server.v4)
        with lab.server.inside():
            listener = socket.create_server((self._server, PORT))
            self._far = raw(self._server)
        with lab.client.inside(), listener:
            client = socket.create_connection((self._server, PORT))
            self._near = raw(str(lab.client.v4))
            server, _ = listener.accept()
        client.sendall(start(1))
        server.recv(156, socket.MSG_WAITALL)
        server.sendall(start(2))
        client.recv(156, socket.MSG_WAITALL)
        client.sendall(message(7, CALL.pack(CLIENTS) + bytes(154)))
        asked = server.recv(168, socket.MSG_WAITALL)
        (self._known,) = CALL.unpack_from(asked, 12)
        server.sendall(message(8, CALL.pack(SERVERS) + CALL.pack(self._known) + b"\1" + bytes(15)))
        if client.recv(32, socket.MSG_WAITALL)[14:17] != CALL.pack(CLIENTS) + b"\1":
            raise RuntimeError("there is no call")
        self._control = client, server

    def carry(self, is_out: bool, size: int, packets: int) -> None:
        """Send so many packets one way, and get them all. Raises OSError when one is lost."""
        sender, receiver = (self._near, self._far) if is_out else (self._far, self._near)
        to = (self._server if is_out else self._gateway, 0)
        data = packet(SERVERS if is_out else self._known, bytes(size))
        for _ in range(packets // BURST):
            for _ in range(BURST):
                sender.sendto(data, to)
            for _ in range(BURST):
                receiver.recv(65536)

    def close(self) -> None:
        for sock in (*self._control, self._near, self._far):
            sock.close()


def run(effort: Packets, say: Progress) -> Report:
    """Build the lab, measure, take it down. Raises RuntimeError when a packet is lost."""
    found: dict[str, dict[int, list[float]]] = {way: {size: [] for size in SIZES} for way in (OUT, "back")}
    text = "policies: [{name: out, from: [lan0], action: accept, snat: interface}]"
    say("building a lab")
    with Lab("nat") as lab, pinhole(lab, text, unprivileged=True) as daemon:
        ends = Ends(lab)
        try:
            for number in range(effort.rounds):
                say(f"round {number + 1} of {effort.rounds}")
                for way, sizes in found.items():
                    for size, cpu in sizes.items():
                        before = cpu_seconds(daemon.pid)
                        ends.carry(way == OUT, size, effort.packets)
                        cpu.append((cpu_seconds(daemon.pid) - before) / effort.packets)
        except OSError as error:
            raise RuntimeError(f"a packet was lost: {error}") from error
        finally:
            ends.close()
    worst = max(median(cpu) for sizes in found.values() for cpu in sizes.values())
    bar = Bar("CPU of a packet, µs", worst * 1e6, f"at most {MOST_SECONDS * 1e6:.0f}", worst <= MOST_SECONDS)
    return Report(machine(), effort, found, [bar])
