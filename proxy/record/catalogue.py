"""The catalogue of the audit log: every event with its fields, its severity, and sentences about them.

Made from it are the list in `configs/README.md` (`python -m tools.catalogue`), the JSON Schema (`pinhole audit
schema`), the priorities by which the journal and syslog file a line, and the manual. Tests hold every line that they
see against it (`faults`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import chain
from typing import Any

from proxy.record.events import daemon, dcerpc, dns, h323, helpers, irc, mgcp, pinholes, pmap, pptp, rtsp, sessions, sip
from proxy.record.events.budgets import Budget
from proxy.record.events.kinds import COUNT, TEXT, Question, maybe, one_of, question
from proxy.record.events.row import Event, Field, Severity, field, option
from proxy.record.events.rules import RULES

EVENTS: Mapping[str, Event] = {
    event.name: event
    for event in chain(
        sessions.EVENTS,
        pinholes.EVENTS,
        helpers.EVENTS,
        dns.EVENTS,
        irc.EVENTS,
        rtsp.EVENTS,
        mgcp.EVENTS,
        h323.EVENTS,
        pmap.EVENTS,
        dcerpc.EVENTS,
        pptp.EVENTS,
        sip.EVENTS,
        daemon.EVENTS,
    )
}
"""Name -> event, in the order of the list in `configs/README.md`."""

BUDGETS: Mapping[str, Budget] = {name: event.budget for name, event in EVENTS.items() if event.budget is not None}
"""Name of an event -> how many such lines may be written; only those that have a bound."""

_HASH = maybe({"type": "string", "pattern": "^[0-9a-f]{64}$"})

EVERY: tuple[Field, ...] = (
    field("time", {"type": "string", "format": "date-time"}, "RFC 3339, UTC, microseconds"),
    field("event", {"type": "string", "pattern": "^[a-z0-9_]+([.][a-z0-9_]+)?$"}, "what happened"),
    option("severity", one_of("notice", "warning", "error"), "how grave it is; absent from what is mere information"),
    field("node", TEXT, "the gateway that wrote it (`audit: node`, else the name of the host)"),
    field("instance", TEXT, "this life of the daemon: another one after each restart, and part of all ids"),
    field(
        "seq",
        COUNT,
        "the number of the line in this life, from 1. Where one is missing, a line is (`audit.lost` has none)",
    ),
    option("prev", _HASH, "with `chain`: the hash of the line before (null: there is none)"),
    option("hash", _HASH, "with `chain`: the hash of this line up to here"),
)
"""What every line has; the hashes, where a chain is wanted."""

OF_LOG = frozenset(one.name for one in EVERY)
"""The fields that the log adds to every line."""

OF_SESSION = OF_LOG | {one.name for one in sessions.SESSION}
"""Those, and what is added to every line of a session."""

_SUPPRESSED = option("suppressed", COUNT, "how many such lines were left out before this one")


def fields_of(event: Event) -> tuple[Field, ...]:
    """All fields of a line with this event."""
    about = sessions.SESSION if event.scope == "session" else ()
    limited = () if event.budget is None else (_SUPPRESSED,)
    own = {one.name for one in event.fields}
    call = [one for one in sessions.CALL if one.name not in own] if event.scope == "session" else ()
    every = [one for one in EVERY if one.name != "seq" or event.name != "audit.lost"]
    return (*every, *about, *event.fields, *call, *limited)


def severity(name: str) -> Severity:
    """How grave a line with this event is. An event of a helper that the catalogue does not know is information."""
    event = EVENTS.get(name)
    return "info" if event is None else event.severity


# -- lines held against the catalogue ----------------------------------------------------------------------------------


def faults(line: Mapping[str, Any], unbound: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with a line, in words; nothing if it is as the catalogue has it. `unbound`: fields that it need not
    have yet. An event with a noun of its own belongs to a helper from elsewhere, and is not judged."""
    name = str(line.get("event"))
    if name not in EVENTS:
        return [f"{name}: no such event"] if name.partition(".")[0] in _NOUNS else []
    known, needed = _fields(name)
    found = [f"{name}: {key} is missing" for key in needed if key not in line and key not in unbound]
    for key, value in line.items():
        holds = known.get(key)
        if holds is None:
            found.append(f"{name}: {key} is not in the catalogue")
        elif not holds(value):
            found.append(f"{name}: {key} may not be {value!r}")
    rule = line.get("rule", "")
    if rule and rule not in RULES and rule.partition(".")[0] in _NOUNS:
        found.append(f"{name}: no such rule: {rule}")
    return found


_NOUNS = {name.partition(".")[0] for name in (*EVENTS, *RULES)}


@cache
def _fields(name: str) -> tuple[Mapping[str, Question], tuple[str, ...]]:
    """The fields of an event, each with the question whether a value is right; and those that must be there."""
    every = fields_of(EVENTS[name])
    return {one.name: question(one.schema) for one in every}, tuple(one.name for one in every if not one.is_optional)


# -- for others --------------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """JSON Schema of a line of the log."""
    rows = EVENTS.values()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:pinhole:audit:1",
        "title": "A line of pinhole's audit log",
        "type": "object",
        "required": ["time", "event"],
        "properties": {"event": {"enum": list(EVENTS)}},
        "allOf": [
            {"if": {"properties": {"event": {"const": event.name}}}, "then": {"$ref": f"#/$defs/{event.name}"}}
            for event in rows
        ],
        "$defs": {event.name: _object(event) for event in rows},
    }


def _object(event: Event) -> dict[str, Any]:
    """The schema of the lines with this event."""
    every = fields_of(event)
    return {
        "type": "object",
        "description": _sentence(event.when),
        "x-severity": event.severity,
        "required": [one.name for one in every if not one.is_optional],
        "properties": {one.name: _described(event, one) for one in every},
        "additionalProperties": False,
    }


def _described(event: Event, one: Field) -> dict[str, Any]:
    """The schema of a field, with what is said of it."""
    schema = {**one.schema, **({"description": _sentence(one.text)} if one.text else {})}
    if event.name == "violation" and one.name == "rule":
        schema["enum"] = list(RULES)
    return schema


def _sentence(text: str) -> str:
    """Text of a table, as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."
