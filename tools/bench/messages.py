"""Messages of H.323: what one takes the engines alone, without sockets and without a daemon.

Those that two Asterisk have said: all H.245 that has a connection of its own, of a call with fast start and of one
whose channels are opened there, and a Setup with four proposals. The clock is that of the process, and of several calls
and rounds the fastest one counts: all that a busy machine does to a message is to lengthen it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from protocols.contract.addresses import Peers, Side
from protocols.contract.engine import Engine
from protocols.contract.pinholes import Grant
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import Session
from tests.protocols.h323.calls import Calls
from tests.protocols.h323.messages import FAST_SETUP
from tests.protocols.h323.recorded import as_it_is_said, packets, peers_of, recorded
from tools.bench.rounds import Bar, Progress, machine

NATS = {"none": "no NAT", "snat": "source NAT"}
Talk = tuple[Engine, list[tuple[Side, bytes]]]
"""A connection, and what is said on it."""


@dataclass(frozen=True, slots=True)
class Effort:
    rounds: int
    calls: int
    """In each round, with and without NAT."""


FULL = Effort(rounds=15, calls=200)
QUICK = Effort(rounds=5, calls=50)


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Effort
    seconds: dict[str, dict[str, list[float]]]
    """What kind of message -> with which NAT -> seconds of one, a value for each round."""
    bars: list[Bar]


def run(effort: Effort, say: Progress) -> Report:
    seconds: dict[str, dict[str, list[float]]] = {kind: {nat: [] for nat in NATS.values()} for kind in KINDS}
    for number in range(effort.rounds):
        say(f"round {number + 1} of {effort.rounds}")
        for kind, (begin, _) in KINDS.items():
            for nat, name in NATS.items():
                seconds[kind][name].append(_of_a_message(begin, nat, effort.calls))
    return Report(machine(), effort, seconds, list(bars(seconds)))


def _of_a_message(begin: Callable[[str], list[Talk]], nat: str, calls: int) -> float:
    """The mean over the messages, of each of which the fastest of so many calls counts."""
    fastest: list[float] = []
    for _ in range(calls):
        taken = []
        for engine, said in begin(nat):
            for side, packet in said:
                began = time.process_time()
                engine.receive(side, packet, 0.0)
                taken.append(time.process_time() - began)
        fastest = [min(pair) for pair in zip(fastest or taken, taken, strict=True)]
    return fmean(fastest)


# -- what is said ------------------------------------------------------------------------------------------------------


_recorded = cache(recorded)


def _call(peers: Peers) -> Calls:
    """Between these hosts, before the first message."""
    calls, pinholes = Calls(), FakePinholes()
    engine = calls.engines(peers, calls.options, pinholes, 0.0)
    calls.peers, calls.signalling = peers, Session(engine, pinholes, calls.engines)
    return calls


def setup(nat: str) -> list[Talk]:
    """A Setup with fast start."""
    signalling, _ = _recorded()[0]
    return [(_call(peers_of(signalling, nat)).signalling.engine, [(Side.CLIENT, FAST_SETUP)])]


def h245(nat: str) -> list[Talk]:
    """Each H.245 connection; the signalling of its call has got as far as that."""
    talks = []
    for signalling, controls in _recorded():
        for control in controls:
            calls = _call(peers_of(signalling, nat))
            opened = calls.signalling.pinholes.opened
            for side, packet in packets(signalling):
                calls.signalling.receive(side, as_it_is_said(side, packet, nat))
                if opened and isinstance(opened[-1], Grant):
                    break
            is_same = control.client.host == signalling.client.host
            said = [
                (side, as_it_is_said(side if is_same else side.other, packet, nat)) for side, packet in packets(control)
            ]
            talks.append((calls.control(len(opened)).engine, said))
    return talks


KINDS: dict[str, tuple[Callable[[str], list[Talk]], float]] = {
    "a message of H.245": (h245, 15e-6),
    "a Setup with fast start": (setup, 150e-6),
}
"""How each begins, and what one may take at most."""


# -- what is wanted ----------------------------------------------------------------------------------------------------


def bars(seconds: dict[str, dict[str, list[float]]]) -> Iterator[Bar]:
    for kind, (_, most) in KINDS.items():
        for nat, each in seconds[kind].items():
            yield Bar(f"{kind}, {nat}, µs", 1e6 * min(each), f"at most {1e6 * most:.0f}", min(each) <= most)
