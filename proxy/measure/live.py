"""What stands now: sessions, pinholes, calls, limits, ports. It is read from the tables when somebody scrapes.

Ten thousand calls have forty thousand pinholes, and nobody in a call should hear them being counted. So the tables are
walked a few rows at a time. What passes meanwhile may be missed until the next scrape, and never counts twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from protocols.contract.engine import Counts, Tallies
from proxy.pinholes.table import PinholeTable
from proxy.record.metrics import Metrics
from proxy.sessions.registry import Sessions

ROWS_AT_ONCE = 256
"""So many rows are counted in about half a millisecond."""

Row = TypeVar("Row")


class Queue(Protocol):
    """Lines of the audit log on their way out."""

    @property
    def waiting(self) -> int:
        """How many lines are not written yet."""

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of them wait in memory."""


class Live:
    """Counts what stands in a daemon."""

    def __init__(self, metrics: Metrics, sessions: Sessions, pinholes: PinholeTable, queue: Queue) -> None:
        self._metrics = metrics
        self._sessions = sessions
        self._pinholes = pinholes
        self._queue = queue

    async def families(self, descriptors: int, most_descriptors: int) -> list[Metric]:
        """All that can be counted now. `descriptors` are in use, and `most_descriptors` may be."""
        table = self._pinholes
        sessions, fullest = await self._count_sessions()
        pinholes = await self._count_pinholes()
        used = {
            "sessions": len(self._sessions),
            "sessions_per_client": self._sessions.busiest()[0],
            "pinholes": len(table),
            "pinholes_per_session": fullest,
            "pinholes_per_client": table.busiest()[0],
            "ports": table.ports.fullest()[0],
            "descriptors": descriptors,
        }
        most = {
            **{name: getattr(table.limits, name, 0) for name in used},
            "ports": len(table.ports),
            "descriptors": most_descriptors,
        }
        return [
            sessions,
            *pinholes,
            *self._engines(),
            _gauge("limit", "How much there may be at once", ("limit",), {(name,): most[name] for name in used}),
            _gauge(
                "limit_used",
                "How much there is of it: of the client, session or address that has most",
                ("limit",),
                {(name,): count for name, count in used.items()},
            ),
            _plain("ports_size", "Ports that may be opened on each of our addresses", len(table.ports)),
            _plain("ports_used", "Ports leased on all of our addresses", table.ports.in_use()),
            _plain("relays", "Pinholes with a running relay", table.relays()),
            _plain("media_rows", "Streams of media that the kernel carries", len(table.kernel)),
            _plain("media_rows_limit", "How many streams it could carry", table.kernel.capacity),
            _plain("fastpath_interfaces", "Interfaces that it takes media from", len(table.kernel.interfaces)),
            _plain("udp_endpoints", "UDP sockets of sessions, pinholes and media", len(table.endpoints)),
            _plain("audit_queue_lines", "Audit lines that are not written yet", self._queue.waiting),
            _plain("audit_queue_bytes", "Bytes of audit lines that wait in memory", self._queue.waiting_bytes),
        ]

    async def _count_sessions(self) -> tuple[Metric, int]:
        """The sessions by helper, and how many pinholes the fullest one has."""
        helpers = self._sessions.engines
        counts: Counter[tuple[str, ...]] = Counter(
            {(name, state): 0 for name in helpers for state in ("open", "lingering")}
        )
        fullest = 0
        async for session in _in_turns((*self._sessions, *self._sessions.lingering)):
            counts[session.helper.name, "lingering" if session.is_over else "open"] += 1
            fullest = max(fullest, session.pinholes.fullest)
        text = "Sessions by helper; `lingering`: its sockets are gone, and something that it began, as a call, goes on"
        return _gauge("helper_sessions", text, ("helper", "state"), counts), fullest

    async def _count_pinholes(self) -> Iterator[Metric]:
        """The pinholes by helper and purpose, and what has passed all pinholes so far."""
        table, metrics = self._pinholes, self._metrics
        passed: dict[int, tuple[str, int, int, int | None]] = {}
        counts: Counter[tuple[str, ...]] = Counter()
        counted: Counter[str] = Counter()
        packets: Counter[str] = Counter()
        media: Counter[str] = Counter()
        for helper, purposes in self._sessions.purposes.items():
            counts.update({(helper, purpose): 0 for purpose in purposes})
        async for pinhole in _in_turns(table):
            if pinhole.grant.id not in table:
                continue
            purpose, (size, datagrams), away = pinhole.purpose, pinhole.carried(), pinhole.carried_in_kernel()
            passed[pinhole.grant.id] = purpose, size, datagrams, away
            counts[pinhole.owner.helper.name, purpose] += 1
            counted[purpose] += size
            packets[purpose] += datagrams
            media.update(_by_path(datagrams, away))
        # What has ended meanwhile is now counted with all others that have ended.
        for number in table.gone(passed.keys()):
            purpose, size, datagrams, away = passed[number]
            counted[purpose] -= size
            packets[purpose] -= datagrams
            media.subtract(_by_path(datagrams, away))
        counted.update(metrics.relayed_bytes)
        packets.update(metrics.relayed_packets)
        media.update(metrics.media_packets)
        return iter(
            (
                _gauge("helper_pinholes", "Pinholes by helper and purpose", ("helper", "purpose"), counts),
                _counter("relayed_bytes", "Bytes that have passed pinholes", ("purpose",), _alone(counted)),
                _counter("relayed_packets", "Datagrams that have passed pinholes", ("purpose",), _alone(packets)),
                _counter("media_packets", "Packets of media, by what has carried them", ("path",), _alone(media)),
            )
        )

    def _engines(self) -> Iterator[Metric]:
        """What is under way in the engines of each helper, and what they have seen."""
        standing: dict[str, dict[tuple[str, ...], int]] = {}
        for helper, engines in self._sessions.engines.items():
            if isinstance(engines, Counts):
                for name, count in engines.counts().items():
                    standing.setdefault(name, {})[helper,] = count
            if isinstance(engines, Tallies):
                for tally in engines.tallies():
                    yield _counter(tally.name, tally.text, tally.labels, tally.counts)
        for name, counts in standing.items():
            yield _gauge(name, f"How many {name} are under way, by helper", ("helper",), counts)


def _by_path(packets: int, in_kernel: int | None) -> dict[str, int]:
    """Packets of media by what has carried them; nothing of what is no media."""
    return {} if in_kernel is None else {"kernel": in_kernel, "user": packets - in_kernel}


async def _in_turns(rows: Iterable[Row]) -> AsyncIterator[Row]:
    """These rows. After each few of them whatever has arrived meanwhile comes first."""
    for number, row in enumerate(rows, 1):
        yield row
        if not number % ROWS_AT_ONCE:
            await asyncio.sleep(0)


_Values = Mapping[tuple[str, ...], int]


def _alone(counts: Mapping[str, int]) -> _Values:
    """The same counts for a single label."""
    return {(value,): count for value, count in counts.items()}


def _gauge(name: str, text: str, labels: Sequence[str], values: _Values) -> Metric:
    family = GaugeMetricFamily(f"pinhole_{name}", text, labels=labels)
    return _filled(family, values)


def _counter(name: str, text: str, labels: Sequence[str], values: _Values) -> Metric:
    family = CounterMetricFamily(f"pinhole_{name}", text, labels=labels)
    return _filled(family, values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: _Values) -> Metric:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _plain(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(f"pinhole_{name}", text, value)
