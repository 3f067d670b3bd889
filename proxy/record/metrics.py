"""Counters for what an operator wants an alarm for; the audit log has lines for what an operator wants explained."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """All counters of one daemon. They have a registry of their own, so that several daemons (tests) can live in one
    process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.sessions_opened = Counter("pinhole_sessions_opened", "Sessions accepted", ["helper"], registry=registry)
        self.sessions_denied = Counter("pinhole_sessions_denied", "Sessions refused", ["reason"], registry=registry)
        self.sessions_failed = Counter(
            "pinhole_sessions_failed", "Sessions whose server could not be reached", ["reason"], registry=registry
        )
        self.sessions = Gauge("pinhole_sessions", "Sessions now open", registry=registry)
        self.pinholes_opened = Counter("pinhole_pinholes_opened", "Pinholes opened", ["purpose"], registry=registry)
        self.pinholes_refused = Counter(
            "pinhole_pinholes_refused", "Pinholes asked for and not opened", ["reason"], registry=registry
        )
        self.pinholes = Gauge("pinhole_pinholes", "Pinholes now open", registry=registry)
        self.strangers = Counter(
            "pinhole_strangers", "Connections to a pinhole by somebody not expected", registry=registry
        )
        self.relayed_bytes = Counter("pinhole_relayed_bytes", "Bytes through finished pinholes", registry=registry)
        self.violations = Counter("pinhole_violations", "Rules broken by peers", ["rule"], registry=registry)
        self.engine_failures = Counter("pinhole_engine_failures", "Sessions closed by a bug of ours", registry=registry)
        self.audit_lost = Gauge(
            "pinhole_audit_lines_lost", "Audit lines that could not be written, since the start", registry=registry
        )
        self.rules_missing = Gauge(
            "pinhole_rules_missing",
            "Parts of the firewall rules and routes that are not as they were",
            registry=registry,
        )
        self.audit_suppressed = Counter(
            "pinhole_audit_lines_suppressed",
            "Audit lines left out, as too many of their kind",
            ["event"],
            registry=registry,
        )

    def exposition(self) -> bytes:
        """All counters in Prometheus's text format."""
        return generate_latest(self._registry)
