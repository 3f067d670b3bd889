"""Explanations: what is said of a hole that is open, of one that is closed, and of something that was not let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.control import reasons
from proxy.control.reasons import Why
from proxy.control.shapes import Field, Kind, Row, Shape

_OBJECT = "null where it means nothing or is not known"

EXPLANATION = Shape(
    "explanation",
    "One answer to the question why something is open, was open, or was not let in.",
    {
        "verdict": Field(
            Kind.WORD, "open, closed (it was open), refused (it was not let in), or nothing (pinhole has no part in it)"
        ),
        "says": Field(Kind.WORDS, "The answer in sentences"),
        "since": Field(Kind.TIME, "When it was opened, or refused for the first time", may_be_null=True),
        "until": Field(Kind.TIME, "When it was closed, or refused last; null while it is open", may_be_null=True),
        "pinhole": Field(Kind.OBJECT, f"The pinhole, with the names of /v1/pinholes; {_OBJECT}", may_be_null=True),
        "session": Field(Kind.OBJECT, f"Its session: id, helper, policy, client, server; {_OBJECT}", may_be_null=True),
        "call": Field(Kind.OBJECT, f"Its call: call_id, from, to; {_OBJECT}", may_be_null=True),
        "message": Field(Kind.OBJECT, f"What asked for it: trigger, cseq, call_id; {_OBJECT}", may_be_null=True),
        "policy": Field(Kind.OBJECT, f"The policy that decided: name, place in the file; {_OBJECT}", may_be_null=True),
        "reason": Field(Kind.WORD, "The word of the audit log: why it ended, or was refused", may_be_null=True),
        "remedy": Field(Kind.TEXT, "What an operator can do", may_be_null=True),
        "line": Field(Kind.TEXT, "The line of configuration that would let it in", may_be_null=True),
        "count": Field(Kind.INTEGER, "How often it was refused; 1 for what is or was open"),
        "source": Field(Kind.WORD, "Where this is known from: live, memory (of the last hour), audit, configuration"),
    },
)

EXPLAINED = Shape(
    "explained",
    "All answers, the most telling one first.",
    {"answers": Field(Kind.OBJECT, "The answers; there is at least one", rows=EXPLANATION)},
)

_NOTHING: Row = {
    **dict.fromkeys(EXPLANATION.fields),
    "count": 1,
}


def answer(verdict: str, says: Sequence[str], source: str, **known: Any) -> Row:
    """One explanation. What is not known is null."""
    return {**_NOTHING, "verdict": verdict, "says": list(says), "source": source, **known}


def of_open(pinhole: Row, since: str, policy: Row, message: Row, call: Row | None) -> Row:
    """A pinhole that is open now. `pinhole` is its row."""
    ends = pinhole["expires_seconds"]
    says = [
        f"pinhole {pinhole['id']} is open ({pinhole['purpose']}, {pinhole['state']}): {_way(pinhole)}",
        _asked(pinhole, pinhole["session"], message, call),
        _policy(policy, pinhole),
        _admitted(pinhole["allow"], pinhole["peer"]),
        _passed(pinhole),
        "it stays open until its session, its call or its peers end it"
        if ends is None
        else f"it closes in {ends:.0f} s unless {'somebody comes' if pinhole['peer'] is None else 'more comes'}",
    ]
    return answer(
        "open", says, "live", since=since, pinhole=pinhole, session=session_of(pinhole, pinhole["session"]), call=call,
        message=message, policy=policy,
    )  # fmt: skip


def of_closed(lines: Sequence[Mapping[str, Any]], policy: Row) -> Row:
    """A pinhole that is over. `lines` are those of the audit file about it, from `pinhole.opened` on."""
    opened, closed = lines[0], next((line for line in lines if line["event"] == "pinhole.closed"), None)
    pinhole = {"id": opened["pinhole"], **{name: opened.get(name) for name in _OF_OPENED}, "peer": None}
    used = 0
    for line in lines[1:]:
        if line["event"] == "pinhole.used":
            used, pinhole["peer"] = used + 1, line["peer"]
        elif "allow" in line:
            pinhole["allow"] = line["allow"]
    pinhole |= {name: value for name, value in (closed or {}).items() if name.startswith(("bytes_", "packets_"))}
    pinhole["duration_seconds"] = closed["duration_seconds"] if closed else None
    reason = closed["reason"] if closed else None
    call = {"call_id": opened["call_id"]} if opened.get("call_id") else None
    message = message_of(opened)
    why = reasons.of_end({**pinhole, **opened}, str(reason)) if reason else None
    says = [
        f"pinhole {pinhole['id']} was open from {opened['time']} "
        + (f"to {closed['time']}" if closed else "on; no line says that it was closed, so the daemon was killed")
        + f" ({pinhole['purpose']}): {_way(pinhole)}",
        _asked(opened, opened["session"], message, call),
        _policy(policy, opened),
        _admitted(pinhole["allow"], pinhole["peer"]),
        _passed(pinhole),
        f"it ended: {reason}" + (f", {why.says}" if why else "") if reason else "",
    ]
    strangers = [line for line in lines if line["event"] == "violation"]
    says += [f"somebody else was refused there: {line['detail']} ({line['action']})" for line in strangers]
    return answer(
        "closed", [text for text in says if text], "audit", since=opened["time"],
        until=closed["time"] if closed else None, pinhole=pinhole, session=session_of(opened, opened["session"]),
        call=call, message=message, policy=policy, reason=reason, **_of_why(why),
    )  # fmt: skip


_OF_OPENED = ("purpose", "trigger", "transport", "listen", "rtcp", "allow", "target")


def of_refused(why: Why, facts: Mapping[str, Any], more: Sequence[str], policy: Row | None, **known: Any) -> Row:
    """Something that was not let in. `facts` are the fields of the line of the log; `more` has further sentences."""
    session = session_of(facts, facts["session"]) if facts.get("session") else None
    says = [why.says, *more]
    return answer(
        "refused", says, session=session, policy=policy, message=message_of(facts),
        reason=facts.get("reason") or facts.get("rule"), **_of_why(why), **known,
    )  # fmt: skip


def session_of(facts: Mapping[str, Any], key: str) -> Row:
    """The session that a line or a row belongs to."""
    return {"id": key, **{name: facts.get(name) for name in ("helper", "policy", "client", "server")}}


def message_of(facts: Mapping[str, Any]) -> Row | None:
    """What asked for it, as far as a line or a row says."""
    names = ("trigger", "cseq", "call_id")
    return {name: facts.get(name) for name in names} if facts.get("trigger") else None


def _of_why(why: Why | None) -> Row:
    return {} if why is None else {"remedy": why.remedy, "line": why.line}


def _way(pinhole: Mapping[str, Any]) -> str:
    place, target = pinhole["listen"] or "a place that is not known yet", pinhole["target"] or "where it is learned"
    return f"{pinhole['transport']}, whoever comes to {place} is led to {target}"


def _asked(pinhole: Mapping[str, Any], session: str, message: Mapping[str, Any] | None, call: Row | None) -> str:
    text = f"{pinhole['helper']} opened it in session {session} ({pinhole['client']} to {pinhole['server']})"
    if message is not None:
        number = f", CSeq {message['cseq']}" if message.get("cseq") else ""
        text += f", because {message['trigger']}{number} asked for it"
    if call is not None:
        text += f", in call {call['call_id']}"
        text += f" from {call['from']} to {call['to']}" if call.get("from") else ""
    return text


def _policy(policy: Row, pinhole: Mapping[str, Any]) -> str:
    place = f" ({policy['place']})" if policy.get("place") else ""
    return f"policy {pinhole['policy']}{place} let that session in"


def _admitted(allow: Sequence[str], peer: str | None) -> str:
    admitted = f"it admits {', '.join(allow)}" if allow else "it admits nobody yet, since the other side has not agreed"
    return f"{admitted}; {f'{peer} came last' if peer else 'nobody has come'}"


def _passed(pinhole: Mapping[str, Any]) -> str:
    into, out = pinhole.get("bytes_in") or 0, pinhole.get("bytes_out") or 0
    packets = [pinhole.get(name) for name in ("packets_in", "packets_out")]
    counted = f" in {packets[0]} and {packets[1]} packets" if packets[0] is not None else ""
    return f"{into} bytes in and {out} bytes out have passed{counted}"
