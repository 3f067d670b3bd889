"""How soon nothing passes by the kernel path any more: after the BYE of a call, and after the death of the daemon."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tools.bench import sip
from tools.bench.rounds import Bar
from tools.bench.sip_ways import Phones, Way

MOST_AFTER_BYE_SECONDS, MOST_AFTER_DEATH_SECONDS = 5e-3, 0.1
SEEN_SECONDS = 0.5
"""So much longer than either somebody is heard that nobody should be."""
PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class Ends:
    """Seconds, of each try: when the last packet that passed was sent, after the end."""

    bye: list[float] = field(default_factory=list)
    """After the answer to BYE."""
    death: list[float] = field(default_factory=list)
    """After SIGKILL."""

    def bars(self) -> list[Bar]:
        """The slowest counts."""
        each = (("BYE", self.bye, MOST_AFTER_BYE_SECONDS), ("SIGKILL", self.death, MOST_AFTER_DEATH_SECONDS))
        return [
            Bar(f"the last packet after {what}, ms", max(found) * 1e3, f"at most {most * 1e3:.0f}", max(found) <= most)
            for what, found, most in each
        ]


def measure(way: Way, tries: int) -> Ends:
    """A call with a packet each millisecond that ends in both ways, so often each. At the end the way has another
    daemon than before. Raises RuntimeError when there is no stream in the kernel."""
    daemon = way.daemon
    assert daemon is not None

    def kill(_: Phones) -> int:
        at = time.perf_counter_ns()
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        return at

    def hang_up(pair: Phones) -> int:
        at: int = pair.caller("release")["at"]
        return at

    ends = Ends()
    for _ in range(tries):
        ends.bye.append(_passes_after(way, hang_up))
        ends.death.append(_passes_after(way, kill))
        daemon.start()
    return ends


def _passes_after(way: Way, end: Callable[[Phones], int]) -> float:
    """For how many seconds after `end`, which returns its time, packets pass that are sent then."""
    with sip.phones(way) as pair:
        pair.callee("listen", first=pair.hold(1, "audio"), streams=1)
        pair.caller("talk")
        _wait_for_row(way)
        at = end(pair)
        time.sleep(SEEN_SECONDS)
        pair.caller("hush")
        last: int = pair.callee("heard")["last"]
        return max(0.0, (last - at) / 1e9)


def _wait_for_row(way: Way) -> None:
    assert way.daemon is not None
    until = time.monotonic() + PATIENCE_SECONDS
    while not way.daemon.ask("status")["fastpath"]["streams"]:
        if time.monotonic() > until:
            raise RuntimeError("the stream does not pass in the kernel")
