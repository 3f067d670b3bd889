"""SIP calls through pinhole beside the kernel's own helper and Kamailio with rtpengine: what is measured, and the bars.

CPU is that of the gateway's processes with their system calls; what the kernel does in softirqs for all ways alike is
in it where it runs on their time. Audio passes by plain forwarding and by pinhole's kernel path as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from tools.bench import audio, sip_ways, sipp
from tools.bench.audio import Audio
from tools.bench.rounds import Bar, Progress, in_turn, machine, ratio
from tools.bench.sip_ways import DESCRIPTORS, Phones, Way

KERNEL, PINHOLE, RTPENGINE, CROWDED = "kernel", "pinhole", "kamailio", "pinhole, crowded"
FORWARDING, KERNEL_PATH = "forwarding", "pinhole, kernel path"
"""These carry audio like the others, and calls that are no others': their rate is not looked for."""
FEW, MANY = 100, 10_000
"""Calls held open while the cost of the next ones is measured."""
MIB = 1 << 20
RATES = (250, 500, 750, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 4000)
"""Calls a second that are tried, up to the first one that does not go well twice."""
COMMON_RATE = 300
"""At which all ways are compared."""
STREAMS = (100, 1000)
BEGINNING_SECONDS = 0.2
"""Of audio, before it is measured: a stream begins in user space, and those that begin together wait for each other."""
SOCKETS_PER_CALL = 4
"""RTP and RTCP, on both sides. A fax has no RTCP."""
SPARE_DESCRIPTORS = 500

LEAST_RATE = 1500
MOST_CPU_SECONDS = 0.45e-3
MOST_BYTES = 600 * MIB
MOST_CHANGE_OF_COST = 0.20


@dataclass(frozen=True, slots=True)
class Effort:
    rounds: int
    seconds: float
    """Of each load of calls, and of audio."""
    next_calls: int
    """A round, beside those that are held."""


FULL = Effort(rounds=3, seconds=5, next_calls=2000)
QUICK = Effort(rounds=1, seconds=3, next_calls=1000)


@dataclass(slots=True)
class Figures:
    """One way's, a value for each round."""

    rate: list[float] = field(default_factory=list)
    """The highest of RATES without failed calls or retransmissions; 0: none."""
    call_cpu: list[float] = field(default_factory=list)
    """Seconds for each call, at the common rate."""
    parts: dict[str, list[float]] = field(default_factory=dict)
    """The same, of each of several processes."""
    audio: dict[int, Audio] = field(default_factory=lambda: {streams: Audio() for streams in STREAMS})
    """By the number of streams."""


@dataclass(slots=True)
class Held:
    """Many calls open at once. T.38 takes half the descriptors: what is held where there are none for audio."""

    calls: int
    kind: str
    bytes_of_calls: int
    """Resident, of the daemon with all of them open."""
    audio_calls: int
    bytes_of_audio_calls: int
    """The same of as many calls with audio as there are descriptors for."""
    bytes_before: int
    few_cpu: list[float] = field(default_factory=list)
    """Seconds for the next call, with FEW others open."""
    many_cpu: list[float] = field(default_factory=list)

    @property
    def bytes_of_many_audio_calls(self) -> float:
        each = (self.bytes_of_audio_calls - self.bytes_before) / self.audio_calls
        return self.bytes_before + each * MANY


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Effort
    figures: dict[str, Figures]
    held: Held
    bars: list[Bar]


def run(effort: Effort, say: Progress) -> Report:
    """Build the labs, measure, take them down. Raises RuntimeError when a way does not carry what it should."""
    with contextlib.ExitStack() as stack:
        say("building a lab for each way")
        ways = (
            sip_ways.forwarding(),
            sip_ways.kernel(),
            sip_ways.pinhole(PINHOLE),
            sip_ways.pinhole(KERNEL_PATH, kernel_path="tcx"),
            sip_ways.kamailio_with_rtpengine(),
        )
        stand = [stack.enter_context(way) for way in ways]
        figures = {way.name: Figures(parts={name: [] for name in way.gateway}) for way in stand}
        for number in range(1, effort.rounds + 1):
            for measure in (_measure_cpu, _measure_rate, _measure_audio):
                for way in in_turn(stand, number):
                    say(f"round {number} of {effort.rounds}: {measure.__name__[9:]}, {way.name}")
                    measure(way, figures[way.name], effort)
        held = _hold(stack, effort, say)
    return Report(machine(), effort, figures, held, _bars(figures, held))


def _measure_cpu(way: Way, figures: Figures, effort: Effort) -> None:
    if not way.gateway:
        return
    before = {name: way.cpu_seconds(name) for name in way.gateway}
    done = sipp.load(way.lab, COMMON_RATE, effort.seconds)
    if not done.made:
        raise RuntimeError(f"{way.name} carries no calls")
    spent = {name: (way.cpu_seconds(name) - at) / done.made for name, at in before.items()}
    for name, seconds in spent.items():
        figures.parts[name].append(seconds)
    figures.call_cpu.append(sum(spent.values()))


def _measure_rate(way: Way, figures: Figures, effort: Effort) -> None:
    if way.name in (FORWARDING, KERNEL_PATH):
        return
    best = 0
    for rate in RATES:
        # A moment in which the machine is busy with something else is no fault of the way.
        if not any(sipp.load(way.lab, rate, effort.seconds).is_sound for _ in range(2)):
            break
        best = rate
    figures.rate.append(best)


def _measure_audio(way: Way, figures: Figures, effort: Effort) -> None:
    with phones(way) as pair:
        for streams in STREAMS:
            first = pair.hold(streams, "audio")
            audio.send(way, pair, first, streams, BEGINNING_SECONDS)
            figures.audio[streams].note(audio.send(way, pair, first, streams, effort.seconds))
            pair.caller("release")


@contextlib.contextmanager
def phones(way: Way) -> Iterator[Phones]:
    pair = Phones(way.lab)
    try:
        yield pair
    finally:
        pair.close()


def _hold(stack: contextlib.ExitStack, effort: Effort, say: Progress) -> Held:
    """Calls that stay open, and what the next one costs beside them."""
    few, many = (stack.enter_context(sip_ways.pinhole(name)) for name in (PINHOLE, CROWDED))
    with phones(few) as few_phones, phones(many) as many_phones:
        for pair in (few_phones, many_phones):
            pair.caller("calls", count=effort.next_calls, kind="fax")  # the first ones fill caches
        before = many.resident_bytes()
        audio_calls = min(MANY, (DESCRIPTORS - SPARE_DESCRIPTORS) // SOCKETS_PER_CALL)
        say(f"holding {audio_calls} calls with audio")
        many_phones.hold(audio_calls, "audio")
        with_audio = many.resident_bytes()
        kind = "audio"
        if audio_calls < MANY:
            many_phones.caller("release")
            kind = "fax"
            say(f"holding {MANY} calls with T.38")
            many_phones.hold(MANY, kind)
        few_phones.hold(FEW, kind)
        held = Held(MANY, kind, many.resident_bytes(), audio_calls, with_audio, before)
        for number in range(2 * effort.rounds):
            say(f"the next call beside {FEW} and beside {MANY}: {number + 1} of {2 * effort.rounds}")
            pairs = [(few, few_phones, held.few_cpu), (many, many_phones, held.many_cpu)]
            for way, pair, costs in pairs if number % 2 else reversed(pairs):
                at = way.cpu_seconds()
                pair.caller("calls", count=effort.next_calls, kind=kind)
                costs.append((way.cpu_seconds() - at) / effort.next_calls)
    return held


def _bars(figures: dict[str, Figures], held: Held) -> list[Bar]:
    pinhole, rtpengine = figures[PINHOLE], figures[RTPENGINE]
    rate, cpu = median(pinhole.rate), median(pinhole.call_cpu)
    bars = [
        Bar("calls a second", rate, f"at least {LEAST_RATE}", rate >= LEAST_RATE),
        Bar("CPU of a call, ms", cpu * 1e3, f"at most {MOST_CPU_SECONDS * 1e3:.2f}", cpu <= MOST_CPU_SECONDS),
    ]
    for streams in STREAMS:
        beside = ratio(pinhole.audio[streams].per_core, rtpengine.audio[streams].per_core)
        name = f"packets a core, {streams} streams: pinhole / rtpengine"
        bars.append(Bar(name, beside, "at least 1.00", beside >= 1))
    most_streams = STREAMS[-1]
    path, forwarding = (figures[way].audio[most_streams] for way in (KERNEL_PATH, FORWARDING))
    bars += audio.bars(path, forwarding, most_streams)
    most, limit = max(held.bytes_of_calls, held.bytes_of_many_audio_calls), MOST_BYTES / MIB
    name = f"MiB of the daemon with {MANY} calls held"
    bars.append(Bar(name, most / MIB, f"at most {limit:.0f}", most <= MOST_BYTES))
    cost = ratio(held.many_cpu, held.few_cpu)
    name = f"cost of the next call: {MANY} are open / {FEW} are"
    within = f"1 ± {MOST_CHANGE_OF_COST:.2f}"
    bars.append(Bar(name, cost, within, abs(cost - 1) <= MOST_CHANGE_OF_COST))
    return bars
