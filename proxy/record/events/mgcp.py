"""Lines that MGCP notes: gateways, and the connections that their agents make."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE, GUESSES
from proxy.record.events.kinds import COUNT, ENDPOINT, SECONDS, TEXT, WORD, many, maybe, numbered, parts
from proxy.record.events.row import Event, field, option

ENDPOINT_NAME = field("endpoint", TEXT, "its name, as the gateway or else the agent has it")
_NAMED = (ENDPOINT_NAME, field("call_id", TEXT), field("connection", TEXT))

ADDED = Event(
    "mgcp.connection_added",
    "a gateway has made a connection",
    (
        *_NAMED,
        field("mode", TEXT),
        field(
            "streams",
            many(
                parts(
                    medium=COUNT,
                    local=maybe(ENDPOINT),
                    local_known_as=maybe(ENDPOINT),
                    remote=maybe(ENDPOINT),
                    remote_known_as=maybe(ENDPOINT),
                )
            ),
            "one a medium that is followed: where the gateway (`local`) and its far end (`remote`) wait, and where "
            "each is found by the other one (null: not told yet)",
        ),
    ),
    budget=DIALOGUE,
)

EVENTS = (
    Event(
        "mgcp.restart",
        "a gateway tells of a restart. After `restart` and `forced` its connections are over",
        (
            field("endpoint", TEXT, "one or, with wildcards, many"),
            field("method", TEXT, "restart, graceful, forced, disconnected ..."),
            field("delay", TEXT, "the seconds that it names"),
        ),
        budget=DIALOGUE,
    ),
    ADDED,
    ADDED.named("mgcp.connection_changed", "its agent has changed it, and the gateway agrees", DIALOGUE),
    Event(
        "mgcp.connection_ended",
        "a connection is over and its media closed",
        (
            *_NAMED,
            field(
                "reason",
                WORD,
                "`agent` or `gateway`, which deleted it; `restart`; `unknown_to_gateway` (515); `replaced` by one of "
                "the same id; `gave_way` to another one, unspoken of for `hold_idle`; `media_idle` and the "
                "like; `idle`: agent and gateway were silent for too long; `stopped`",
            ),
            field("duration_seconds", SECONDS),
            field("packets_to_gateway", COUNT, "this and the following: as they passed here"),
            field("packets_from_gateway", COUNT),
            field("bytes_to_gateway", COUNT),
            field("bytes_from_gateway", COUNT),
            option("lost_to_gateway", COUNT),
            option("lost_from_gateway", COUNT),
            option("jitter_seconds_to_gateway", SECONDS),
            option("jitter_seconds_from_gateway", SECONDS),
            field(
                "reported", numbered(COUNT), "what the gateway has counted itself (`P:`): PS, OS, PR, OR, PL, JI, LA"
            ),
        ),
        budget=None,
    ),
    Event(
        "mgcp.refused",
        "a gateway or an agent refuses a command",
        (ENDPOINT_NAME, field("command", TEXT), field("code", COUNT), field("text", TEXT)),
        severity="notice",
        budget=GUESSES,
    ),
    Event(
        "mgcp.media_moved",
        "an agent moves the far end of a connection to another host, as a transfer does, and as a forger would",
        (*_NAMED, field("medium", COUNT), field("before", ENDPOINT), field("after", ENDPOINT)),
        severity="notice",
        budget=DIALOGUE,
    ),
    Event(
        "mgcp.redirected",
        "an agent names another host to be notified, to which the gateway needs a session of its own",
        (ENDPOINT_NAME, field("entity", TEXT)),
        budget=DIALOGUE,
    ),
    Event(
        "mgcp.notified",
        "with `digits: true`: a gateway tells what it has observed",
        (ENDPOINT_NAME, field("events", TEXT)),
        budget=DIALOGUE,
    ),
)
