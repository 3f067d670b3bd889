"""The rows of refusals and violations: what went wrong within the last hour, equal things counted together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.control.explain import Explainer
from proxy.control.gateway import Gateway
from proxy.control.shapes import Field, Kind, Row, Shape, stamp
from proxy.record.recent import Happened

_ALL: dict[str, Field] = {
    "last": Field(Kind.TIME, "When it happened last"),
    "first": Field(Kind.TIME, "When it happened first"),
    "count": Field(Kind.INTEGER, "How often"),
    "age_seconds": Field(Kind.SECONDS, "How long ago it happened last"),
    "helper": Field(Kind.WORD, "The helper", may_be_null=True),
    "policy": Field(Kind.WORD, "The policy that decided", may_be_null=True),
    "client": Field(Kind.ENDPOINT, "The client", may_be_null=True),
    "server": Field(Kind.ENDPOINT, "The server, as the client dialled it", may_be_null=True),
    "interface": Field(Kind.WORD, "The interface by which it came", may_be_null=True),
    "session": Field(Kind.WORD, "The session, if there is one", may_be_null=True),
}

REFUSAL = Shape(
    "refusal",
    "Something that was not let in: a session, a pinhole, a call or a registration.",
    {
        **_ALL,
        "event": Field(Kind.WORD, "The event of the audit log"),
        "reason": Field(Kind.WORD, "Its reason"),
        "listen": Field(Kind.ENDPOINT, "Where a pinhole would have stood", may_be_null=True),
        "target": Field(Kind.ENDPOINT, "Where it would have led", may_be_null=True),
        "says": Field(Kind.TEXT, "The reason in a sentence"),
        "remedy": Field(Kind.TEXT, "What an operator can do", may_be_null=True),
        "line": Field(Kind.TEXT, "The line of configuration that would let it in", may_be_null=True),
    },
)

VIOLATION = Shape(
    "violation",
    "Something that a peer did and may not do.",
    {
        **_ALL,
        "rule": Field(Kind.WORD, "The rule that was broken"),
        "detail": Field(Kind.TEXT, "What was seen"),
        "action": Field(Kind.TEXT, "What was done"),
        "pinhole": Field(Kind.WORD, "The pinhole that it was about", may_be_null=True),
    },
)

_REFUSED = ("session.denied", "session.failed", "pinhole.refused", "call.failed", "registration.refused")


def refusal_rows(gateway: Gateway, explainer: Explainer) -> Iterator[Row]:
    """What was not let in, the newest first."""
    for happened in gateway.recent.all(*_REFUSED):
        facts = happened.told
        told = explainer.refused(happened, facts)
        yield {
            **_common(gateway, happened, facts),
            "event": happened.event,
            "reason": str(facts.get("reason") or facts.get("code") or ""),
            "listen": _endpoint(facts.get("listen")),
            "target": _endpoint(facts.get("target") or facts.get("dialled")),
            "says": told["says"][0],
            "remedy": told["remedy"],
            "line": told["line"],
        }


def violation_rows(gateway: Gateway) -> Iterator[Row]:
    """What peers did and may not do, the newest first."""
    for happened in gateway.recent.all("violation"):
        facts = happened.told
        yield {
            **_common(gateway, happened, facts),
            "rule": str(facts["rule"]),
            "detail": str(facts.get("detail", "")),
            "action": str(facts.get("action", "")),
            "pinhole": facts.get("pinhole"),
        }


def _common(gateway: Gateway, happened: Happened, facts: dict[str, Any]) -> Row:
    return {
        "last": stamp(happened.last),
        "first": stamp(happened.first),
        "count": happened.count,
        "age_seconds": round(max(0.0, gateway.wall_clock() - happened.last), 3),
        **{name: facts.get(name) or None for name in ("helper", "policy", "client", "server", "interface", "session")},
    }


def _endpoint(value: Any) -> str | None:
    return str(value) if value else None
