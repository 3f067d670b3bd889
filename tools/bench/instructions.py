"""How many instructions a call and a packet of media take, counted by cachegrind.

The clock of a busy or virtual machine says five per cent more or less in each run. A count does not: it is the same
within one per cent whatever else the machine does. It knows only what happens in the process, not the kernel's part of
a system call.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tools.bench import sip, sip_ways
from tools.bench.rounds import Progress
from tools.bench.versus import AFTER, BEFORE, trees

CALLS = (20, 120)
"""Counted are the calls by which the second run has more. What a daemon does to start is in both."""
STREAMS = 10
SECONDS = 4.0
ROUNDS = 2
SUMMARY = re.compile(r"^summary: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions of one checkout, a value for each round."""

    a_call: list[float]
    a_packet: list[float]


def run(checkout: Path, say: Progress) -> dict[str, Count]:
    """Count for the older checkout and for this one. Raises RuntimeError when cachegrind is missing or one of them
    carries nothing."""
    found = {BEFORE: Count([], []), AFTER: Count([], [])}
    packets = int(STREAMS * SECONDS * 50)
    for number in range(ROUNDS):
        for name, tree in trees(checkout):
            say(f"round {number + 1} of {ROUNDS}: {name}")
            few, many = (_spent(tree, calls=count) for count in CALLS)
            found[name].a_call.append((many - few) / (CALLS[1] - CALLS[0]))
            quiet, loud = (_spent(tree, streams=STREAMS, seconds=seconds) for seconds in (0.1, 0.1 + SECONDS))
            found[name].a_packet.append((loud - quiet) / packets)
    return found


def rows(found: dict[str, Count]) -> Iterator[tuple[str, str, str]]:
    """For people: the checkout, and its medians beside those of the older one."""
    first = found[BEFORE]
    for name, count in found.items():
        yield name, _beside(count.a_call, first.a_call), _beside(count.a_packet, first.a_packet)


def _beside(values: list[float], base: list[float]) -> str:
    return f"{median(values):,.0f} ({median(values) / median(base):.3f})"


def _spent(tree: Path, calls: int = 0, streams: int = 0, seconds: float = 0) -> int:
    """Instructions of a daemon from its start to its end, in which it carried that."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as made:
        directory = Path(made)
        directory.chmod(0o777)  # the daemon is an ordinary user
        counter = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "-q", f"--cachegrind-out-file={made}/%p")
        with (
            sip_ways.pinhole(tree=tree, under=(*counter, f"--log-file={made}/messages")) as way,
            sip.phones(way) as pair,
        ):
            if calls:
                pair.caller("calls", count=calls, kind="audio")
            if streams:
                first = pair.hold(streams, "audio")
                pair.callee("listen", first=first, streams=streams)
                pair.caller("send", streams=streams, seconds=seconds)
                pair.callee("heard")
                pair.caller("release")
        # The daemon counts most; the others are processes that it has forked.
        counts = [int(found[1]) for file in directory.glob("[0-9]*") if (found := SUMMARY.search(file.read_text()))]
        if not counts:
            raise RuntimeError("cachegrind wrote nothing: tools/setup --bench gets it")
        return max(counts)
