"""Calls, registrations and transfers over bad lines for a long time: `python -m tools.soak` (half an hour). With
`--streams 1000` so many streams of media pass in the kernel meanwhile, and every packet must have been counted.

Phones behind a gateway and an exchange outside call each other, while both lines lose, repeat and delay datagrams. Some
phones vanish in the middle of a call. At the end nothing may be left in the daemon, and its memory must have stayed
what it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click

from tools.lab import Daemon, Lab, pinhole
from tools.lab.bad_link import Counts, Fate, bad_link
from tools.lab.daemon import KernelPath
from tools.peers.sip_phone import Phone, where
from tools.peers.talker import UDP_LENGTH, Talker

PHONES = 12
FIRST_PORT = 5070
FATE = Fate(lost=0.02, doubled=0.02, delayed=0.05)
GONE_SECONDS = 120
"""Until everything that was left behind has timed out: a registration, and 32 s more."""
REGISTERED_SECONDS = 60
SETTLING_SECONDS = 3.0
MOST_SETTLINGS = 10
RISE_SECONDS = 20.0
"""Until all calls have begun once."""
SAMPLE_SECONDS = 5.0
MOST_GROWTH = 0.05
"""Of resident memory, from the second third of the time to the last one."""
LEAST_AT_ONCE = 0.9
"""Of the streams that were asked for, so many are in the kernel at once: the others are between two calls."""

_CONFIG = """
version: 1
session-helpers:
  - {{id: 1, name: sip, protocol: udp, port: 5060}}
  - {{id: 2, name: sip, protocol: udp, port: {talking}}}
policies:
  - name: lan-out
    from: [lan0]
    action: accept
    snat: interface
    options: {{sip: {{ring_seconds: {idle}, media_idle: {idle}, call_idle: {idle}}}}}
timeouts: {{udp_idle: {idle}}}
limits: {{pinholes_per_client: 100000, pinholes_per_session: 100000}}
"""

_ON_THE_WIRE = "\n".join(
    f"table netdev soak_{name} {{\nchain out {{\ntype filter hook ingress device bad_{name}_0 priority -10\n"
    f"meta l4proto udp udp length {UDP_LENGTH} counter\n}}\n}}"
    for name in ("lan0", "wan0")
)
"""Counts the packets of media that have left the gateway, whatever has carried them, where the bad line begins: what a
program redirects meets no hook of the firewall on its way out."""
TALKING_PORT = 5100


@dataclass(frozen=True, slots=True)
class Effort:
    seconds: float
    idle_seconds: float = 20
    """After which calls and sessions that are silent are over."""
    streams: int = 0
    """Of media that pass in the kernel."""
    says_goodbye: bool = False
    """At the end the lines are good, and no phone leaves without a word: what is left then need not time out."""


@dataclass(frozen=True, slots=True)
class Report:
    seconds: float
    streams: int
    """Of media, that were wanted in the kernel at once."""
    did: dict[str, int]
    links: dict[str, Counts]
    left: dict[str, Any]
    """What the daemon still holds; empty when that is nothing."""
    violations: int
    """Lines of that name in the audit log."""
    failures: list[dict[str, Any]]
    """Bugs of ours."""
    media: tuple[int, int]
    """Packets of media that were sent on: by the audit log, and on the wire. Without `streams` nobody counts."""
    in_kernel: int
    """How many of them the kernel has passed, by the log."""
    memory: list[int]
    """Resident bytes, from time to time."""
    at_once: int
    """How many streams the kernel carried at most, as far as somebody looked."""

    @property
    def growth(self) -> float:
        third = len(self.memory) // 3
        return median(self.memory[2 * third :]) / median(self.memory[third : 2 * third]) - 1 if third else 0.0

    def verdicts(self) -> Iterator[tuple[str, bool]]:
        """What has to be so, with what was found, and whether it is."""
        yield f"left of sessions, pinholes, rows, sockets, ports, descriptors: {self.left or 'nothing'}", not self.left
        yield f"bugs of ours: {len(self.failures)}", not self.failures
        for link, counts in self.links.items():
            what = f"{counts.lost} lost, {counts.doubled} doubled, {counts.delayed} overtaken"
            is_bad = min(counts.lost, counts.doubled, counts.delayed) > 0
            yield f"of {counts.datagrams} datagrams of {link}: {what}", is_bad
        if self.streams:
            told, passed = self.media
            counted = f"{passed} on the wire, {told} by the log, {self.in_kernel} of them in the kernel"
            yield f"packets of media: {counted}", told == passed > 0
            least = round(LEAST_AT_ONCE * self.streams)
            yield f"streams in the kernel at once: {self.at_once}, at least {least} wanted", self.at_once >= least
        first, last = self.memory[0] >> 20, self.memory[-1] >> 20
        grown = f"{self.growth:+.1%} from the second third of the time to the last, at most {MOST_GROWTH:.0%} wanted"
        yield f"memory: {first} MiB at first, {last} MiB at last, {grown}", self.growth <= MOST_GROWTH


class _Sample(NamedTuple):
    memory: int
    """Resident bytes of the daemon."""
    in_kernel: int
    """Streams."""


def run(effort: Effort, seed: int, say: Callable[[str], None] = lambda _: None) -> Report:
    """Build the lab, call, take it down. Raises RuntimeError when the lab does not stand."""
    chance = random.Random(seed)
    text = _CONFIG.format(idle=effort.idle_seconds, talking=TALKING_PORT)
    way: KernelPath = "tcx" if effort.streams else "off"
    with (
        Lab("nat") as lab,
        pinhole(lab, text, unprivileged=True, kernel_path=way) as daemon,
        contextlib.ExitStack() as stack,
    ):
        daemon.lock_down()
        fate = replace(FATE)
        links = {
            link: stack.enter_context(bad_link(lab, link, fate, random.Random(chance.random())))
            for link in ("lan0-0", "wan0-0")
        }
        if effort.streams:
            lab.firewall(_ON_THE_WIRE)
        before = _settled(daemon)
        did, samples = asyncio.run(_soak(lab, daemon, effort, fate, chance, say))
        say("waiting for what was left behind")
        left = _left(daemon, before)
        failures = [*daemon.audit("engine.failed"), *daemon.audit("daemon.failed")]
        media, in_kernel = _media(lab, daemon) if effort.streams else ((0, 0), 0)
        return Report(
            effort.seconds,
            effort.streams,
            dict(did),
            links,
            left,
            len(daemon.audit("violation")),
            failures,
            media,
            in_kernel,
            [sample.memory for sample in samples],
            max(sample.in_kernel for sample in samples),
        )


def _media(lab: Lab, daemon: Daemon) -> tuple[tuple[int, int], int]:
    """Packets that were sent on, by the audit log and on the wire, and those of the kernel by the log."""
    lines = daemon.audit("pinhole.closed")
    told = sum(line.get("packets_in", 0) - line.get("packets_lost", 0) for line in lines)
    # Both places of a call say what the kernel has passed for them, so each packet counts twice.
    in_kernel = sum(line.get("packets_in_kernel", 0) for line in lines) // 2
    counters = re.findall(r"counter packets (\d+)", lab.gateway.run(["nft", "list", "ruleset"]).stdout)
    return (told, sum(map(int, counters))), in_kernel


async def _soak(
    lab: Lab, daemon: Daemon, effort: Effort, fate: Fate, chance: random.Random, say: Callable[[str], None]
) -> tuple[Counter[str], list[_Sample]]:
    did: Counter[str] = Counter()
    samples: list[_Sample] = []
    exchange = await Phone.at(lab.server, 5060, "exchange", random.Random(chance.random()), did)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + effort.seconds
    async with asyncio.TaskGroup() as tasks:
        for number in range(PHONES):
            mind = random.Random(chance.random())
            tasks.create_task(_live(lab, FIRST_PORT + number, mind, did, ends_at))
        tasks.create_task(_call_in(exchange, random.Random(chance.random()), ends_at))
        if effort.streams:
            tasks.create_task(_talk(lab, effort.streams // 2, chance, did, ends_at))
        while loop.time() < ends_at:
            now = _Sample(_resident_bytes(daemon), daemon.ask("status")["fastpath"]["streams"])
            samples.append(now)
            seen = f"{now.memory >> 20} MiB, {now.in_kernel} streams in the kernel"
            say(f"{ends_at - loop.time():.0f} s to go: {sum(did.values())} things done, {seen}")
            await asyncio.sleep(min(SAMPLE_SECONDS, max(0.0, ends_at - loop.time())))
    if effort.says_goodbye:
        fate.lost = fate.delayed = fate.doubled = 0.0
        for number in range(PHONES):
            phone = await Phone.at(lab.client, FIRST_PORT + number, f"phone{FIRST_PORT + number}", chance, did)
            await phone.register((str(lab.server.v4), 5060), 0)
            await phone.leave()
    await exchange.leave()
    return did, samples


async def _live(lab: Lab, port: int, mind: random.Random, did: Counter[str], ends_at: float) -> None:
    """A phone: registered for a while, calling now and then, gone, and back again."""
    loop = asyncio.get_running_loop()
    server = (str(lab.server.v4), 5060)
    while loop.time() < ends_at:
        phone = await Phone.at(lab.client, port, f"phone{port}", mind, did)
        try:
            for _ in range(mind.randrange(1, 8)):
                if loop.time() >= ends_at:
                    break
                await phone.register(server, REGISTERED_SECONDS)
                await asyncio.sleep(mind.random())
                await phone.call(f"sip:callee@{server[0]}:5060", server)
            if mind.random() < 0.7:
                await phone.register(server, 0)
        finally:
            await phone.leave()


async def _talk(lab: Lab, calls: int, chance: random.Random, did: Counter[str], ends_at: float) -> None:
    """So many calls at once, one after the other in each place."""
    loop = asyncio.get_running_loop()
    ends = [
        await Talker.at(host, TALKING_PORT, "talker", random.Random(chance.random()), did)
        for host in (lab.client, lab.server)
    ]
    at = (str(lab.server.v4), TALKING_PORT)

    async def talk(number: int) -> None:
        await asyncio.sleep(number * RISE_SECONDS / calls)
        while loop.time() < ends_at:
            await ends[0].call(f"sip:talker@{at[0]}:{at[1]}", at)

    async with asyncio.TaskGroup() as tasks:
        for number in range(calls):
            tasks.create_task(talk(number))
    for end in ends:
        await end.leave()


async def _call_in(exchange: Phone, mind: random.Random, ends_at: float) -> None:
    """The exchange calls whoever has registered, and whoever is still said to have."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as calls:
        while loop.time() < ends_at:
            if exchange.contacts:
                uri = mind.choice(list(exchange.contacts.values()))
                calls.create_task(exchange.call(uri, where(uri)))
            await asyncio.sleep(mind.random() * 0.6)


def _resident_bytes(daemon: Daemon) -> int:
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _settled(daemon: Daemon) -> dict[str, Any]:
    """What the daemon says of itself once it has a descriptor for the program at each interface, also at those of the
    bad lines, which it hears of one after the other. Raises TimeoutError."""
    for _ in range(MOST_SETTLINGS):
        status = daemon.ask("status")
        time.sleep(SETTLING_SECONDS)
        if daemon.ask("status")["descriptors"] == status["descriptors"]:
            return status
    raise TimeoutError(f"the daemon opens ever more descriptors: {status['descriptors']}")


def _left(daemon: Daemon, before: dict[str, Any]) -> dict[str, Any]:
    """What the daemon holds that it did not hold before, once it had time to let go."""
    names = ("sessions", "pinholes", "transfers", "udp_endpoints", "ports_leased", "descriptors", "helpers")

    async def look() -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        end = loop.time() + GONE_SECONDS
        while True:
            status = daemon.ask("status")
            left = {name: status[name] for name in names if status[name] != before[name]}
            if streams := status["fastpath"]["streams"]:
                left["streams"] = streams
            if not left or loop.time() > end:
                return left
            await asyncio.sleep(1)

    return asyncio.run(look())


@click.command()
@click.option("--minutes", type=float, default=30.0, show_default=True)
@click.option("--seed", type=int, default=None, help="Of all that chance decides.")
@click.option("--streams", type=int, default=0, help="Of media that pass in the kernel meanwhile.")
@click.option("--json", "as_json", is_flag=True, help="Also every sample of memory, for programs.")
def main(minutes: float, seed: int | None, streams: int, as_json: bool) -> None:
    """Says what has to be so, and whether it is. Exit status 1 when something is left, a packet of media was not
    counted, or memory grows."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    try:
        report = run(Effort(minutes * 60, streams=streams), seed, lambda text: print(text, file=sys.stderr))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print(json.dumps(asdict(report)))
    else:
        print(f"seed {seed}, {minutes:g} minutes")
        for what, count in sorted(report.did.items()):
            print(f"{count:8} {what}")
        print(f"violations: {report.violations}")
        for found, is_met in report.verdicts():
            print(f"{'met' if is_met else 'MISSED':6}  {found}")
    sys.exit(0 if all(is_met for _, is_met in report.verdicts()) else 1)


if __name__ == "__main__":
    main(prog_name="python -m tools.soak")
