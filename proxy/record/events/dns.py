"""Lines that DNS notes."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, HOST, SECONDS, TEXT, many, one_of
from proxy.record.events.row import Event, field

EVENTS = (
    Event(
        "dns.question",
        "`log_questions`: a question has been answered, or was not",
        (
            field("name", TEXT),
            field("type", TEXT, "as A or TYPE65280"),
            field("code", TEXT, "of the answer, as NOERROR or CODE9; `unanswered`: there was none"),
            field("answers", COUNT, "how many records the answer has"),
            field("seconds", SECONDS),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "dns.kept",
        "addresses of an answer were left as they are, though NAT has others in their place",
        (
            field("name", TEXT),
            field("addresses", many(HOST)),
            field(
                "reason",
                one_of("signed", "ambiguous"),
                "`signed`: whoever checks the signatures would find them wrong; `ambiguous`: policies publish several "
                "servers at one address, or one server at several",
            ),
        ),
        budget=DIALOGUE,
    ),
)
