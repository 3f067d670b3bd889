"""The parts of a daemon that are measured, without sockets of its own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path

from protocols import HELPERS
from proxy.config.schema import Config, Policy
from proxy.measure.health import Check
from proxy.measure.measuring import Measuring
from proxy.pinholes.table import PinholeTable
from proxy.record.metrics import Metrics
from proxy.sessions.registry import Sessions
from proxy.sockets.ports import PortPool
from tests.harness.shell import Memory

PROMTOOL = Path(__file__).parents[2] / ".cache" / "debian" / "usr" / "bin" / "promtool"
"""Prometheus' own checker, unpacked by `tools/setup --test`."""


class NoQueue:
    """An audit log that has written all its lines."""

    waiting = waiting_bytes = 0


class Parts:
    """A daemon with every helper, and nothing under way."""

    def __init__(self, checks: Mapping[str, Check] | None = None) -> None:
        loop, config = asyncio.get_running_loop(), Config(policies=(Policy(name="all", accept=True),))
        self.metrics = Metrics()
        ports = PortPool(40000, 40999)
        self.pinholes = PinholeTable(loop, config.limits, config.timeouts, ports, self.metrics)
        self.sessions = Sessions(loop, config, HELPERS, self.pinholes, Memory(), self.metrics, frozenset())
        self.measuring = Measuring(loop, self.metrics, self.sessions, self.pinholes, NoQueue(), "1.2.3", checks or {})

    async def text(self) -> str:
        """What Prometheus would scrape."""
        return (await self.measuring.exposition.render()).decode()


def series(text: str) -> dict[str, float]:
    """The series of an exposition, each with its value."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def families(text: str) -> set[str]:
    """The names that a query may use."""
    return {name.partition("{")[0] for name in series(text)}


def promtool(*words: str, given: str = "") -> str:
    """What promtool says of something that is right. Raises AssertionError with its objections."""
    done = subprocess.run([PROMTOOL, *words], input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
