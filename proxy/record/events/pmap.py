"""Lines that the helper of the portmapper notes."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, ENDPOINT, NUMBER, TEXT, maybe, one_of
from proxy.record.events.row import Event, field, option

EVENTS = (
    Event(
        "pmap.lookup",
        "a portmapper has told a client where a program is",
        (
            field("procedure", one_of("GETPORT", "GETADDR", "GETVERSADDR", "GETADDRLIST")),
            field("program", NUMBER),
            field("name", TEXT, "its name, or the number again"),
            field("version", NUMBER, "as the client asked for it: portmappers tell of others, too"),
            field("protocol", TEXT, "`tcp`, `udp`, `tcp6`, `udp6`; others lead nowhere"),
            field("at", maybe(ENDPOINT), "where the server says that it is (null: not registered)"),
            field(
                "known_as",
                maybe(ENDPOINT),
                "where a pinhole stands for it. null: none does; `violation` or `pinhole.refused` says why, or the "
                "client has asked for the portmapper itself",
            ),
            option("claimed_machine", TEXT, "this and the following: who the client says it is (AUTH_SYS)"),
            option("claimed_uid", NUMBER),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "pmap.dump",
        "a client has got the list of all services; nothing is opened for it",
        (
            field("version", NUMBER),
            field("entries", maybe(COUNT), "how many there were (null: it passed and could not be read)"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "pmap.unread",
        "a call passes whose answer nobody reads",
        (
            field("program", NUMBER),
            field("procedure", NUMBER),
            field("why", one_of("another_program", "wrapped"), "`wrapped`: by RPCSEC_GSS"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "pmap.tls",
        "client and server turn to TLS; they are relayed unread from here on",
        (field("action", TEXT),),
        budget=DIALOGUE,
    ),
)
