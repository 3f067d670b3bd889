"""Lines that the helper of PPTP notes."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, NUMBER, SECONDS, TEXT, one_of
from proxy.record.events.row import Event, field, option

_CALLS = (
    field("client_call", NUMBER, "the id that the client has in the call"),
    field("client_known_as", NUMBER, "the id that the server knows the client by, and puts into its packets"),
    field("server_call", NUMBER, "the same two of the server"),
    field("server_known_as", NUMBER),
)

EVENTS = (
    Event(
        "pptp.control",
        "both sides of a control connection have said what they are",
        (
            field("client_host", TEXT),
            field("client_vendor", TEXT),
            field("server_host", TEXT),
            field("server_vendor", TEXT),
            field("result", NUMBER, "1: the connection stands"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "pptp.unfollowed",
        "the tunnels of a connection are not carried, and its messages pass as they come",
        (field("reason", one_of("ipv6", "option"), "`ipv6`: tunnels are those of IPv4; `option`: `tunnel: ignore`"),),
        budget=DIALOGUE,
    ),
    Event(
        "pptp.call",
        "both sides have agreed on a call, and its tunnel stands",
        (field("direction", one_of("outgoing", "incoming"), "`incoming`: the concentrator has asked"), *_CALLS),
        budget=DIALOGUE,
    ),
    Event(
        "pptp.refused",
        "somebody has asked for a call, and there is none",
        (
            field("by", one_of("client", "server", "pinhole"), "`pinhole`: `pinhole.refused` or `violation` says why"),
            field("result", NUMBER, "of the reply"),
            field("error", NUMBER),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "pptp.ended",
        "a call has ended, and its tunnel is gone",
        (
            field(
                "cause",
                TEXT,
                "`disconnected` by its concentrator, `stopped` or `control_lost` with the control connection, "
                "`tried_anew` by another request with the same id, `malformed`, or a reason of `pinhole.closed`",
            ),
            *_CALLS,
            field("duration_seconds", SECONDS),
            field("packets_from_client", COUNT, "of GRE, as the following"),
            field("packets_from_server", COUNT),
            field("bytes_from_client", COUNT),
            field("bytes_from_server", COUNT),
            option("result", NUMBER, "what the concentrator says of its end"),
            option("error", NUMBER),
        ),
        budget=DIALOGUE,
    ),
)
