"""All metrics of a daemon as the text that Prometheus scrapes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from proxy.measure.live import Live

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Exposition:
    """Collects what is counted and what stands, and renders it."""

    def __init__(self, registry: CollectorRegistry, live: Live) -> None:
        self._registry = registry
        self._live = live
        self._process = ProcessCollector(registry=None)

    async def render(self) -> bytes:
        """The text. Whatever arrives while it is made comes first, as often as a family of metrics is done."""
        process = await asyncio.get_running_loop().run_in_executor(None, self._of_process)
        descriptors, most = (_value(process, f"process_{name}_fds") for name in ("open", "max"))
        text: list[bytes] = []
        for family in (*self._registry.collect(), *await self._live.families(descriptors, most), *process):
            text.append(generate_latest(_Alone(family)))
            await asyncio.sleep(0)
        return b"".join(text)

    def _of_process(self) -> list[Metric]:
        """What the kernel says of this process. To count thousands of descriptors takes long, so a thread does it."""
        return list(self._process.collect())


def _value(families: Iterable[Metric], name: str) -> int:
    """The value of the single metric with this name; 0 when the kernel has not told it, as when no descriptor is left
    to ask with."""
    return next((int(family.samples[0].value) for family in families if family.name == name), 0)


class _Alone(Collector):
    """A registry with a single family, since the library renders whole registries."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)
