"""Many inputs in little time: what a search has kept is changed at random, and nobody looks at what is covered.

A guided search spends most of its time on looking, and finds little that is new after its first hours. What it has kept
leads to all the places that it knows of, and this tries several times as many inputs from there.
"""

from __future__ import annotations

import random
import signal
import time
from hashlib import sha1
from pathlib import Path
from types import FrameType

import click

from protocols.contract.engine import Helper
from tools.fuzz.cases import decoded, encoded
from tools.fuzz.drive import MAX_BYTES, SECONDS, helper_named, try_one
from tools.fuzz.mutations import Mutator
from tools.fuzz.seeds import seeds, with_further

CROSSED = 0.2
"""How many of the inputs are the beginning of one and the end of another."""
TOLD_SECONDS = 30.0
_NUMBERS = (b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"\0\0", b"\x7f\xff", b"\xff\xff", bytes(4), b"\xff" * 4)


def run(engine: str, corpus: Path, found: Path, inputs: int, seed: int, is_further: bool = False) -> None:
    """Until so many were tried, or one is not stood: that one is saved in `found`, and what it raised is raised.
    is_further: begin with connections alone that a message has announced."""
    helper = helper_named(engine)
    kept = [encoded(case) for case in with_further(helper)] if is_further else _kept(helper, corpus)
    if not kept:
        raise click.BadParameter(f"no capture of {engine} has a connection that one of its messages announces")
    chance = random.Random(seed)
    mutator = Mutator(helper, lambda data, most: changed_bytes(data, most, chance))
    signal.signal(signal.SIGPROF, _took_too_long)
    began = told = time.monotonic()
    for number in range(1, inputs + 1):
        case = decoded(chance.choice(kept), helper)
        if chance.random() < CROSSED:
            case = mutator.crossed(case, decoded(chance.choice(kept), helper), chance.getrandbits(32))
        data = encoded(mutator.changed(case, chance.getrandbits(32)))[:MAX_BYTES]
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor: others may have it meanwhile
        try:
            try_one(helper, data, number)
        except BaseException:
            click.echo(f"not stood, the {number}th: {_saved(data, helper, found)}")
            raise
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if (now := time.monotonic()) - told > TOLD_SECONDS or number == inputs:
            told = now
            click.echo(f"{helper.name}: {number} inputs, {number / (now - began):.0f} a second")


def _kept(helper: Helper, corpus: Path) -> list[bytes]:
    kept = [encoded(case) for case in seeds(helper)]
    if corpus.is_dir():
        kept += (path.read_bytes() for path in sorted(corpus.iterdir()))
    return [data for data in kept if len(data) <= MAX_BYTES]


def _saved(data: bytes, helper: Helper, found: Path) -> Path:
    found.mkdir(parents=True, exist_ok=True)
    path = found / f"{helper.name}-crash-{sha1(data).hexdigest()}"
    path.write_bytes(data)
    return path


def _took_too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def changed_bytes(data: bytes, most: int, chance: random.Random) -> bytes:
    """One to four changes, each at a random place."""
    for _ in range(chance.randrange(1, 5)):
        at, size = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 4, 8, 40))
        match chance.randrange(6):
            case 0:
                data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :] if data[at:] else data
            case 1:
                new = chance.choice(_NUMBERS)
                data = data[:at] + new + data[at + len(new) :]
            case 2:
                data = data[:at] + chance.randbytes(size) + data[at + chance.choice((0, size)) :]
            case 3:
                data = data[:at] + data[at + size :]
            case 4:  # again, right behind itself
                data = data[: at + size] + data[at:]
            case _:
                other = chance.randrange(len(data) + 1)
                data = data[:at] + data[other : other + size] + data[at + size :]
    return data[:most]
