"""What `pinhole doctor` reports: one finding for each check, with a remedy when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Trouble(Enum):
    """All that can be wrong: the name of each kind, by which programs know it, and how bad it is.

    A name stays what it is, whatever the texts of its findings become.
    """

    NO_RAW_RIGHT = "rights.raw", Level.FAIL
    NO_LOW_PORT_RIGHT = "rights.low_ports", Level.WARN
    NO_RESERVED_PORT_RIGHT = "rights.reserved_ports", Level.FAIL
    TRANSPARENT_NOT_PERMITTED = "transparent.not_permitted", Level.FAIL
    TRANSPARENT_NOT_POSSIBLE = "transparent.not_possible", Level.FAIL
    LISTENER_TAKEN = "listener.taken", Level.FAIL
    UDP_PORT_TAKEN = "udp_port.taken", Level.FAIL
    SNAT_NOT_OURS = "snat.not_ours", Level.WARN
    INTERFACE_UNKNOWN = "interface.unknown", Level.WARN
    AUDIT_NOT_WRITABLE = "audit.not_writable", Level.FAIL
    AUDIT_NO_COLLECTOR = "audit.no_collector", Level.WARN
    LIMIT_NEAR = "limit.near", Level.WARN

    FIREWALL_NOT_EXAMINED = "firewall.not_examined", Level.WARN
    FIREWALL_UNREADABLE = "firewall.unreadable", Level.FAIL
    FIREWALL_NO_JSON = "firewall.no_json", Level.WARN
    FIREWALL_NOT_FOLLOWED = "firewall.not_followed", Level.WARN

    RULES_UNREADABLE = "rules.unreadable", Level.FAIL
    RULES_NONE = "rules.none", Level.FAIL
    RULES_TWICE = "rules.twice", Level.WARN
    RULES_NOT_IN_FORCE = "rules.not_in_force", Level.FAIL
    RULES_CHANGED = "rules.changed", Level.FAIL
    RULES_REFUSED = "rules.refused", Level.FAIL

    ROUTING_RULE_BEFORE = "routing.before_ours", Level.WARN
    ROUTING_BY_CLIENT = "routing.by_client", Level.WARN
    ROUTE_MARK_UNUSED = "route_mark.unused", Level.WARN
    ROUTE_MARK_FILTERED = "route_mark.filtered", Level.WARN

    MARK_SHARED = "mark.shared", Level.WARN
    MARK_OVERWRITTEN = "mark.overwritten", Level.WARN
    MARK_NOT_SET = "mark.not_set", Level.WARN
    PREROUTING_DROPS = "prerouting.drops", Level.WARN
    LOAD_ORDER = "prerouting.load_order", Level.WARN
    INPUT_DROPS = "input.drops", Level.WARN
    OUTPUT_DROPS = "output.drops", Level.WARN

    NAT_OF_SOURCES = "nat.source", Level.WARN
    NAT_OF_DESTINATIONS = "nat.destination", Level.WARN
    HELPER_ATTACHED = "helper.attached", Level.WARN
    HELPER_AUTOMATIC = "helper.automatic", Level.WARN
    SEGMENT_IN_FORWARD = "segment.forward_alone", Level.WARN

    FASTPATH_IMPOSSIBLE = "fastpath.impossible", Level.FAIL
    FASTPATH_NOT_USED = "fastpath.not_used", Level.WARN
    FASTPATH_NOT_ATTACHED = "fastpath.not_attached", Level.WARN
    FASTPATH_NOT_FORWARDING = "fastpath.not_forwarding", Level.WARN
    FASTPATH_NO_JIT = "fastpath.no_jit", Level.WARN
    FASTPATH_RULES_MISSED = "fastpath.rules_missed", Level.WARN

    BRIDGES_UNREADABLE = "bridges.unreadable", Level.WARN
    BRIDGES_FILTERED = "bridges.filtered", Level.FAIL
    FORWARDING_OFF = "forwarding.off", Level.WARN
    PORTS_SHARED = "ports.shared", Level.WARN
    PORTS_UNREADABLE = "ports.unreadable", Level.WARN

    @property
    def level(self) -> Level:
        """How bad it is."""
        return self.value[1]

    def __str__(self) -> str:
        return self.value[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    level: Level
    check: str
    detail: str
    remedy: str = ""
    """Shell commands, to be pasted as they are. What is not a command stands behind a `#`."""
    name: str = ""
    """The name of the trouble (`Trouble`). It is "" where all is well."""


def fine(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, check, detail)


def trouble(kind: Trouble, check: str, detail: str, remedy: str = "") -> Finding:
    """Something is wrong."""
    return Finding(kind.level, check, detail, remedy, str(kind))


def well(check: str, found: Iterable[Finding], detail: str) -> Iterator[Finding]:
    """These findings, or one that says that all is well when there are none."""
    nothing = True
    for finding in found:
        nothing = False
        yield finding
    if nothing:
        yield fine(check, detail)


def in_words(versions: Iterable[int]) -> str:
    """IP versions for people."""
    return " and ".join(f"IPv{version}" for version in sorted(versions))
