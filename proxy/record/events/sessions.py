"""Lines about sessions, and about peers that get none."""

from __future__ import annotations

from proxy.record.events.budgets import BUG, REFUSED, Budget
from proxy.record.events.kinds import (
    COUNT,
    ENDPOINT,
    SECONDS,
    TEXT,
    TRANSPORT,
    WORD,
    many,
    maybe,
    numbered,
    one_of,
    parts,
)
from proxy.record.events.row import Event, Field, field, option

_LET_IN = (
    option(
        "parent",
        TEXT,
        "of a session that no policy was asked to let in for itself: the session that had the way opened",
    ),
    option(
        "via_pinhole",
        maybe(TEXT),
        "the pinhole through which it came (null: none; a server spoke from another port to a client in a call)",
    ),
    option("by", parts(session=TEXT, pinhole=maybe(TEXT)), "the same two"),
)

_DIALLED_FROM = "the address and port that the server is dialled from, and sees"

CALL: tuple[Field, ...] = (
    option("call_id", TEXT, "the call that the line belongs to, media and pinholes of it included"),
    option("direction", one_of("out", "in"), "`out`: the caller is behind this gateway; `in`: the callee is"),
)
"""What every line has that belongs to a call."""

SESSION: tuple[Field, ...] = (
    field("session", TEXT, "the session, unique over restarts"),
    field("helper", TEXT, "the helper that reads it"),
    field("policy", TEXT, "the policy that let it in"),
    field("client", ENDPOINT, "who dialled"),
    field("server", ENDPOINT, "what the client dialled"),
)
"""What every line about a session has."""

EVENTS = (
    Event(
        "session.opened",
        "TCP: the server answered; UDP: the first datagram came. The helper reads",
        (
            field("transport", TRANSPORT),
            field("interface", TEXT, "by which it came"),
            field("snat", maybe(ENDPOINT), "as whom the server sees the client, if by another address than its own"),
            field("dnat", maybe(ENDPOINT), "where the server is, if elsewhere than the client dialled"),
            field("dialled_from", ENDPOINT, _DIALLED_FROM),
            *_LET_IN,
        ),
        budget=None,
    ),
    Event(
        "session.denied",
        "refused before the server was dialled; `session` is absent",
        (
            field("transport", TRANSPORT),
            field("helper", maybe(TEXT), "the one whose port was dialled"),
            field("policy", maybe(TEXT), "the one that decided (null: none)"),
            field("client", ENDPOINT),
            field("server", ENDPOINT),
            field("interface", TEXT),
            field("reason", WORD, "see below"),
            *_LET_IN,
        ),
        scope="peer",
        severity="notice",
        budget=REFUSED,
    ),
    Event(
        "session.failed",
        "accepted, but the server could not be reached; the client got a reset",
        (
            field("reason", WORD),
            field("dialled", ENDPOINT),
            field("dialled_from", maybe(ENDPOINT), "the address and port that it was dialled from (null: none)"),
        ),
        severity="notice",
        budget=REFUSED,
    ),
    Event(
        "session.progress",
        "`audit: progress`: it lasts, is relayed unread, and so much has passed until now",
        (field("duration_seconds", SECONDS), field("bytes_from_client", COUNT), field("bytes_from_server", COUNT)),
        budget=None,
    ),
    Event(
        "session.closed",
        "it is over",
        (
            field("reason", WORD, "see below"),
            field("duration_seconds", SECONDS),
            field("bytes_from_client", COUNT),
            field("bytes_from_server", COUNT),
            option("datagrams_lost", COUNT, "UDP: those that could not be sent"),
            option(
                "datagrams_refused",
                COUNT,
                "UDP: those that came by an interface that does not lead to whoever they seemed to be from",
            ),
        ),
        budget=None,
    ),
    Event(
        "sessions.counted",
        "at most once a minute, of a helper with so many short sessions that `session.opened` and `session.closed` are "
        "not written for each",
        (
            field("helper", TEXT),
            field("duration_seconds", SECONDS),
            field("opened", COUNT),
            field("closed", numbered(COUNT), "how many, by reason"),
            field("bytes_from_client", COUNT),
            field("bytes_from_server", COUNT),
        ),
        scope="peer",
        budget=None,
    ),
    Event(
        "violation",
        "a peer did what it may not",
        (
            field("rule", TEXT, "see below"),
            field("detail", TEXT, "what was seen"),
            field("action", TEXT, "what was done about it"),
            option("pinhole", TEXT, "where"),
        ),
        severity="warning",
        budget=Budget(10, 60.0, "rule", in_all=50),
    ),
    Event(
        "engine.failed",
        "a bug in a helper: its session was closed, nothing else",
        (field("traceback", many(TEXT)),),
        severity="error",
        budget=BUG,
    ),
)
