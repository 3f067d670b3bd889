"""Try the program of the kernel path on random and mutated packets: `python -m tools.fuzz.kernel --inputs 1000000`.

The kernel runs the program (BPF_PROG_TEST_RUN) on each packet, and a model in Python (`tests/harness/kernel_path.py`)
says what it should have answered, byte for byte, checksums and counts included. The search ends at the first packet of
which they disagree, and tells it. All forms of the program are searched, for links with and without a MAC header, for
tcx and, with a lease that comes and goes, for clsact, and both ways to the next hop, asked for and remembered. Needs
root, for the namespace in which there are routes.
"""

from __future__ import annotations

import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import product

import click

from proxy.ebpf.tables import Address
from tests.harness.kernel_path import (
    ETHERTYPES,
    HOPS,
    NEXT_MAC,
    OURS,
    PHONES,
    PLACES,
    REDIRECTED,
    UNREACHED,
    Expected,
    Model,
    Program,
    Site,
    Way,
    checksum,
    packed,
    packet,
    pseudo,
    site,
)

VARIANTS = tuple(product((True, False), (False, True), (False, True)))
"""Whether links have a MAC header, whether a route is remembered, and whether the rows have a lease."""
_BYTES = (0, 1, 2, 0x11, 0x20, 0x40, 0x45, 0x46, 0x60, 0x7F, 0x80, 0xFF)
_PAYLOADS = (0, 1, 12, 13, 20, 160, 172, 500, 671, 672, 673, 1232, 1233, 1472, 1473, 1500)
_TOUCHED = 64
"""Most mutations are of headers, which are so long at most."""
_LEASE_CHANGES, _LEASE_HOLDS = 0.02, 0.8
"""How often a lease changes, and how often it is in force then."""
_MOMENT, _DAY = 10**8, 24 * 3600 * 10**9
"""Nanoseconds. What the program takes for now is behind by a tick of the kernel."""
_TIMES = 1 << 64
"""They have no sign."""


class Disagreement(AssertionError):
    """The program and the model disagree about a packet."""


def ways(where: Site) -> list[Way]:
    """Rows of each kind, between addresses that the site has a route for and such that it has none for."""
    found: list[Way] = []
    for version in (4, 6):
        source = PHONES[version]
        to = [host for host in (*HOPS, *UNREACHED) if (":" in host) == (version == 6)]
        found += [
            Way((source, 4000 + 2 * n), (PLACES[version], 5000), (OURS[version], 5002 + n), (host, 6000))
            for n, host in enumerate(to)
        ]
        peer = (to[0], 7000)
        found += [
            Way((source, 3000), peer, (source, 3000), peer),  # nothing changes
            Way((source, 3002), peer, (source, 3004), peer),  # a port does
            Way((source, 3006), (PLACES[version], 7000), (source, 3006), peer),  # a host does
            Way((source, 3008), (PLACES[version], 5000), (OURS[version], 3008), peer, where.interface),
            Way((source, 3010), (PLACES[version], 5000), (OURS[version], 3010), peer, where.other),
            Way((source, 0), (PLACES[version], 65535), (OURS[version], 65535), (to[0], 1)),
        ]
    return found


class Packets:
    """Draws packets: right ones, such as are wrong in a place or a few, and noise."""

    def __init__(self, where: Site, rows: list[Way], draw: random.Random, has_mac: bool) -> None:
        self._site, self._rows, self._draw, self._has_mac = where, rows, draw, has_mac
        self._led_on = [way for way in rows if way.to[0] in HOPS]

    def next(self) -> bytes:
        """A frame, or without MAC header a packet."""
        draw = self._draw
        if draw.random() < 0.02:
            return draw.randbytes(draw.randrange(14, 120))
        way = draw.choice(self._led_on if draw.random() < 0.7 else self._rows)
        data = self._packet(way)
        frame = data if not self._has_mac else self._mac() + ETHERTYPES[way.version] + data
        for _ in range(draw.choice((0, 0, 0, 0, 1, 1, 2, 3))):
            frame = self._mutated(frame)
        if draw.random() < 0.25:
            frame = self._mended(frame)
        return frame

    def _mac(self) -> bytes:
        return (self._site.mac if self._draw.random() < 0.98 else NEXT_MAC) + self._draw.randbytes(6)

    def _packet(self, way: Way) -> bytes:
        draw = self._draw
        payload = draw.randbytes(draw.choice(_PAYLOADS) if draw.random() < 0.5 else draw.randrange(0, 200))
        hops = draw.choice((0, 1, 2, 64, 255)) if draw.random() < 0.2 else draw.randrange(2, 256)
        if draw.random() < 0.05 and len(payload) >= 2:
            payload = _with_checksum_0(way.out, way.to, payload)
        whole = packet(way.source, way.at, payload, hops, draw.randrange(256))
        if draw.random() < 0.1:
            at = (26 if way.version == 4 else 46) if draw.random() < 0.7 else 10
            whole = whole[:at] + draw.choice((b"\0\0", b"\xff\xff", draw.randbytes(2))) + whole[at + 2 :]
        if draw.random() < 0.1:
            whole += draw.randbytes(draw.randrange(1, 40))
        return whole

    def _mutated(self, frame: bytes) -> bytes:
        draw = self._draw
        if not frame:
            return frame
        at = draw.randrange(min(len(frame), _TOUCHED) if draw.random() < 0.9 else len(frame))
        match draw.randrange(6):
            case 0:
                return frame[:at] + bytes((frame[at] ^ 1 << draw.randrange(8),)) + frame[at + 1 :]
            case 1:
                return frame[:at] + bytes((draw.choice(_BYTES),)) + frame[at + 1 :]
            case 2:
                value = draw.choice(
                    (0, 1, 0x4000, 0x2000, 0xFFFF, len(frame), abs(len(frame) - 14), draw.randrange(65536))
                )
                return frame[:at] + struct.pack("!H", value) + frame[at + 2 :]
            case 3:
                return frame[: draw.randrange(14, len(frame) + 1)] if len(frame) > 14 else frame
            case 4:
                return frame[:at] + draw.randbytes(4) + frame[at:]
            case _:
                return frame[:at] + frame[at + draw.randrange(1, 5) :]

    def _mended(self, frame: bytes) -> bytes:
        """With the lengths and the IPv4 header checksum that such a packet should have."""
        ip = 14 if self._has_mac else 0
        data = bytearray(frame[ip:])
        if len(data) < 48:
            return frame
        if data[0] >> 4 == 4:
            data[2:4] = struct.pack("!H", len(data))
            data[10:12] = bytes(2)
            data[10:12] = checksum(bytes(data[:20])).to_bytes(2, "big")
            data[24:26] = struct.pack("!H", len(data) - 20)
        else:
            data[4:6] = data[44:46] = struct.pack("!H", len(data) - 40)
        return frame[:ip] + bytes(data)


def _with_checksum_0(source: Address, to: Address, payload: bytes) -> bytes:
    """A payload with which the datagram that goes out has a sum of ones."""
    hosts, length = packed(source[0]) + packed(to[0]), 8 + len(payload)
    udp = struct.pack("!HHHH", source[1], to[1], length, 0) + bytes(2) + payload[2:]
    return checksum(pseudo(hosts, length) + udp).to_bytes(2, "big") + payload[2:]


class Search:
    """One form of the program, the model, and packets for both."""

    def __init__(self, where: Site, has_mac: bool, remembers: bool, is_leased: bool, seed: int) -> None:
        rows = ways(where)
        self.program = Program(where, rows, has_mac, remembers, is_leased)
        self._model = Model(where, rows, has_mac, remembers)
        self._model.is_in_force = not is_leased  # nobody has kept the rows yet
        self._draw = random.Random(f"{seed} {has_mac} {remembers} {is_leased}")
        self._packets = Packets(where, rows, self._draw, has_mac)
        self._has_mac, self._is_leased = has_mac, is_leased
        self._passed = {key: (0, 0) for key in self.program.put}
        """What has to have been counted by now."""

    def run(self, inputs: int) -> Counter[str]:
        """Try so many packets. Raises Disagreement. Returns how many there were of each fate."""
        fates: Counter[str] = Counter()
        for _ in range(inputs):
            if self._is_leased and self._draw.random() < _LEASE_CHANGES:
                self._change_lease()
            fates[self._try(self._packets.next())] += 1
        counted = {key: row.counts() for key, row in self.program.put.items()}
        if counted != self._passed:
            raise Disagreement(f"counts: {counted} instead of {self._passed}")
        return fates

    def _change_lease(self) -> None:
        """It lasts for longer than a search takes, or is over since a moment, or since longer."""
        draw, now = self._draw, time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._model.is_in_force = draw.random() < _LEASE_HOLDS
        if self._model.is_in_force:
            self.program.lease(draw.choice((now + _DAY, _TIMES // 2, _TIMES - 1)))
        else:
            self.program.lease(draw.choice((0, 1, now // 2, now - _MOMENT)))

    def _try(self, frame: bytes) -> str:
        if _is_too_short(frame):
            return "too short for the kernel to try"
        expected = self._model.decide(frame)
        # The card's sum counts for nothing where what fills up a frame is cut off, and where UDP has no checksum.
        is_whole = len(expected.frame) == len(frame) and frame[40:42] != bytes(2)
        is_summed = self._has_mac and is_whole and self._draw.random() < 0.5
        try:
            tried = self.program.run(frame, is_summed=is_summed)
        except OSError as error:
            raise Disagreement(f"{error}: {frame.hex()}") from error
        if (tried.answer, tried.packet) != expected[:2]:
            raise Disagreement(
                f"{frame.hex()}\n  program {tried.answer} {tried.packet.hex()}\n  model   "
                f"{expected.answer} {expected.frame.hex()}"
            )
        return self._count(frame, expected)

    def _count(self, frame: bytes, expected: Expected) -> str:
        if expected.answer != REDIRECTED or expected.payload is None:
            return "left alone"
        ip = 14 if self._has_mac else 0
        version = frame[ip] >> 4
        at, header = ip + (12 if version == 4 else 8), ip + (20 if version == 4 else 40)
        key = version, frame[at : header + 4]
        packets, octets = self._passed[key]
        self._passed[key] = packets + 1, octets + expected.payload
        if self.program.put[key].counts() != self._passed[key]:
            raise Disagreement(f"counted {self.program.put[key].counts()}, not {self._passed[key]}: {frame.hex()}")
        return f"redirected, IPv{version}"


def _is_too_short(frame: bytes) -> bool:
    """Whether the kernel tries no program on it: it has a MAC header, and less than an IP header behind it."""
    least = {kind: 20 if version == 4 else 40 for version, kind in ETHERTYPES.items()}.get(frame[12:14], 0)
    return len(frame) < 14 + least or len(frame) == 14


def search(inputs: int, seed: int) -> Iterator[tuple[str, Counter[str]]]:
    """Search all variants, each with its share of the inputs."""
    with site() as where:
        for has_mac, remembers, is_leased in VARIANTS:
            one = Search(where, has_mac, remembers, is_leased, seed)
            try:
                name = f"{'with' if has_mac else 'no'} MAC header, route {'remembered' if remembers else 'asked for'}"
                name += ", with a lease" * is_leased
                yield name, one.run(inputs // len(VARIANTS))
            finally:
                one.program.close()


@click.command(help=__doc__)
@click.option("--inputs", type=click.IntRange(1), default=1_000_000, show_default=True, help="How many to try.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(inputs: int, seed: int) -> None:
    began, total = time.monotonic(), 0
    try:
        for name, fates in search(inputs, seed):
            total += sum(fates.values())
            click.echo(f"{name}: " + ", ".join(f"{fate} {count}" for fate, count in sorted(fates.items())))
    except Disagreement as found:
        click.echo(f"they disagree:\n  {found}", err=True)
        sys.exit(1)
    click.echo(f"{total} packets, all as the model has it, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(prog_name="python -m tools.fuzz.kernel")
