"""Lines that the helper of DCE-RPC notes."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, ENDPOINT, TEXT, YES, many, maybe, one_of
from proxy.record.events.row import Event, field, option

_BINDINGS = "where the object is, as its server says: names and addresses, each with the port in brackets"
_SIGNED = "the answer is signed, so nothing in it can be changed"

EVENTS = (
    Event(
        "dcerpc.map",
        "an endpoint mapper has told a client where an interface is; a line for each endpoint",
        (
            field("interface", maybe(TEXT), "its UUID, as the answer has it (null: none is named)"),
            field("name", maybe(TEXT), "its name, or the UUID again"),
            field("version", TEXT, "of the interface, as 1.0"),
            field("at", maybe(ENDPOINT), "where it is on the server (null: not registered, or at another host)"),
            field(
                "known_as",
                maybe(ENDPOINT),
                "where a pinhole stands for it (null: none does; `violation` or `pinhole.refused` says why)",
            ),
            option("transport", one_of("tcp", "udp")),
            option("object", TEXT, "the UUID of the object that was asked for"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "dcerpc.lookup",
        "a client has got a list of all endpoints, or as much of it as it has asked for",
        (field("entries", COUNT, "how many there were"),),
        budget=DIALOGUE,
    ),
    Event(
        "dcerpc.activation",
        "a client has had an object of DCOM activated",
        (
            field("class_id", maybe(TEXT), "the UUID of its class (null: it could not be read)"),
            field("bindings", many(TEXT), _BINDINGS),
            option("signed", YES, _SIGNED),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "dcerpc.oxid",
        "a client has asked where an object of DCOM is",
        (
            field("bindings", many(TEXT), _BINDINGS),
            option("signed", YES, _SIGNED),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "dcerpc.signed_address",
        "an answer goes to the client of a published server with addresses that it will not reach from there",
        (
            field("message", TEXT, "the call that it answers, by its name in the standard"),
            field("addresses", many(TEXT), "what the client will try"),
            option("signed", YES, f"{_SIGNED}; activations are left alone in any case"),
        ),
        severity="notice",
        budget=DIALOGUE,
    ),
    Event(
        "dcerpc.sealed",
        "a call and its answer are encrypted: they pass, and nothing is opened. Once a connection",
        (field("operation", TEXT, "the call, by its name in the standard"),),
        severity="notice",
        budget=DIALOGUE,
    ),
    Event(
        "dcerpc.unread",
        "a call passes whose answer cannot be read. Once a session",
        (
            field("operation", TEXT, "the call, by its name in the standard"),
            field(
                "why",
                one_of("transfer_syntax", "fragments", "signed"),
                "`transfer_syntax`: neither NDR32 nor NDR64; the others are of calls over UDP",
            ),
        ),
        budget=DIALOGUE,
    ),
)
