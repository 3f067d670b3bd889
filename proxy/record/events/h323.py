"""Lines that H.323 and RAS note. Calls and registrations have the events that those of SIP have."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, ENDPOINT, TEXT, many, maybe, one_of
from proxy.record.events.row import Event, field

EVENTS = (
    Event(
        "call.forwarded",
        "H.323: a party sends the other one elsewhere. To port 1720 that one calls anew, as policies decide",
        (
            field("call_id", TEXT),
            field("to", ENDPOINT, "as the message named it"),
            field("alias", maybe(TEXT)),
            field("reason", one_of("callForwarded", "routeCallToGatekeeper", "routeCallToMC")),
        ),
        severity="notice",
        budget=DIALOGUE,
    ),
    Event(
        "h323.traversal",
        "an endpoint offers to cross a NAT by itself (H.460). With its addresses mapped it has no need to; "
        "`traversal: pass` leaves it alone",
        (field("features", many(COUNT), "17, 18, 19: of H.460"),),
        budget=DIALOGUE,
    ),
    Event(
        "h323.unread",
        "a connection is relayed unread",
        (field("why", one_of("fixup", "traversal"), "the option that says so"),),
        budget=DIALOGUE,
    ),
)
