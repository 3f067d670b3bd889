"""Counters for what an operator wants an alarm for; the audit log has lines for what an operator wants explained.

What happens is counted here. What stands and can be looked at is read when somebody asks (`proxy/measure/live.py`).
"""

from __future__ import annotations

from collections import Counter as Totals
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from proxy.record.catalogue import BUDGETS
from proxy.record.events.rules import RULES
from proxy.record.labels import DEMOTED, DENIED, FAILED, PROMOTED, REFUSED

# Each counter would have a second series that says when it was made; Prometheus itself knows since when there is one.
disable_created_metrics()

DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the loop's delay, in seconds. A packet of audio comes every 0.02."""


class Metrics:
    """All counters of one daemon. They have a registry of their own, so that several daemons (tests) can live in one
    process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions_opened = self._counter("sessions_opened", "Sessions accepted", "helper")
        self.sessions_denied = self._counter("sessions_denied", "Sessions refused", "reason", DENIED)
        self.sessions_failed = self._counter(
            "sessions_failed", "Sessions whose server could not be reached", "reason", FAILED
        )
        self.sessions = self._gauge("sessions", "Sessions now open")
        self.pinholes_opened = self._counter("pinholes_opened", "Pinholes opened", "purpose")
        self.pinholes_refused = self._counter(
            "pinholes_refused", "Pinholes asked for and not opened", "reason", REFUSED
        )
        self.pinholes = self._gauge("pinholes", "Pinholes now open")
        self.strangers = self._counter("strangers", "Connections and datagrams to a pinhole that were not admitted")
        self.rtp_lost = self._counter("rtp_lost", "Packets of RTP that did not come here, of media that has ended")
        self.violations = self._counter("violations", "Rules broken by peers", "rule", RULES)
        self.engine_failures = self._counter("engine_failures", "Sessions closed by a bug of ours")
        self.audit_lost = self._gauge("audit_lines_lost", "Audit lines that could not be written, since the start")
        self.rules_missing = self._gauge(
            "rules_missing", "Parts of the firewall rules and routes that are not as they were"
        )
        self.rules_watched = self._gauge(
            "rules_watched", "Whether somebody would notice that these are gone", "what", ("rules", "routes")
        )
        self.audit_suppressed = self._counter(
            "audit_lines_suppressed", "Audit lines left out, as too many of their kind", "event", BUDGETS
        )
        self.hep_sent = self._counter("hep_messages", "Copies of messages that were sent to the collector")
        self.hep_lost = self._counter("hep_messages_lost", "Copies of messages that could not be sent to the collector")
        self.loop_delay = Histogram(
            "pinhole_loop_delay_seconds",
            "How late a timer of the event loop ran, looked at four times a second",
            buckets=DELAYS,
            registry=self.registry,
        )
        self.reloaded = self._gauge("config_last_reload_successful", "Whether the last reload was accepted")
        self.reloaded_at = self._gauge(
            "config_last_reload_success_timestamp_seconds", "When the configuration in force was read"
        )
        self.media_promotions = self._counter(
            "media_promotions",
            "Streams of media that were offered to the kernel, by what became of it: `kernel` carries it, or why not",
            "result",
            PROMOTED,
        )
        self.media_demotions = self._counter(
            "media_demotions", "Streams of media that the kernel carries no more", "reason", DEMOTED
        )
        self.media_packets: Totals[str] = Totals(kernel=0, user=0)
        """Packets of media that has ended, by what carried them."""
        self.relayed_bytes: Totals[str] = Totals()
        """Bytes through pinholes that have ended, by purpose; those of others are counted where they pass."""
        self.relayed_packets: Totals[str] = Totals()
        """The same of datagrams."""

    def _counter(self, name: str, text: str, label: str = "", values: Iterable[str] = ()) -> Counter:
        """A counter with at most one label, some of whose values are there from the start."""
        counter = Counter(f"pinhole_{name}", text, [label] if label else [], registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str, label: str = "", values: Iterable[str] = ()) -> Gauge:
        """The same for what also becomes less."""
        gauge = Gauge(f"pinhole_{name}", text, [label] if label else [], registry=self.registry)
        for value in values:
            gauge.labels(value)
        return gauge

    def knows(self, helper: str, purposes: Iterable[str]) -> None:
        """The daemon has this helper, whose pinholes are for these purposes. Their series begin now."""
        self.sessions_opened.labels(helper)
        self.sessions_denied.labels(f"not_{helper}")
        for purpose in purposes:
            self.pinholes_opened.labels(purpose)
            self.relayed_bytes[purpose] += 0
            self.relayed_packets[purpose] += 0

    def relayed(self, purpose: str, passed: int, packets: int, in_kernel: int | None = None) -> None:
        """A pinhole has ended, and so many bytes and datagrams have passed it, of media so many of them in the
        kernel."""
        if in_kernel is not None:
            self.media_packets["kernel"] += in_kernel
            self.media_packets["user"] += packets - in_kernel
        self.relayed_bytes[purpose] += passed
        self.relayed_packets[purpose] += packets
