"""Lines that SIP notes: calls, registrations and their media. H.323 and RAS note calls and registrations likewise."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE, GUESSES
from proxy.record.events.kinds import COUNT, ENDPOINT, HOST, SECONDS, TEXT, WORD, YES, many, maybe, parts
from proxy.record.events.row import Event, field, option

CALL_ID = field("call_id", TEXT)
_BOUND = (field("aor", TEXT), field("contact", ENDPOINT), field("known_as", ENDPOINT, "where it can be called"))
_GRANTED = field("expires_seconds", COUNT)

ADDED = Event(
    "registration.added",
    "a 2xx to REGISTER, or a gatekeeper's RegistrationConfirm (RAS): the phone or endpoint can be called at `known_as`",
    (*_BOUND, _GRANTED),
    budget=None,
)
REMOVED = Event("registration.removed", "it cannot any more", _BOUND, budget=None)

EVENTS = (
    Event(
        "call.started",
        "the first 2xx to an INVITE, or a Connect of H.323",
        (
            CALL_ID,
            field("from", maybe(TEXT)),
            field("to", maybe(TEXT)),
            option("fast_start", YES, "H.323: media was proposed in Setup"),
            option("tunnelled", YES, "H.323: H.245 came within call signalling"),
        ),
        budget=None,
    ),
    Event(
        "call.failed",
        "a call is over before a 2xx or a Connect",
        (
            CALL_ID,
            field("from", maybe(TEXT)),
            field("to", maybe(TEXT)),
            field("code", maybe(COUNT), "how it was refused last (null: not at all, or H.323, which has no codes)"),
            field("reason", TEXT, "the words of that response, or why there was none (`not_answered`, `stopped`)"),
            field("duration_seconds", SECONDS, "since the first INVITE or Setup"),
        ),
        severity="notice",
        budget=GUESSES,
    ),
    Event(
        "call.ended",
        "an established call is over and its media closed",
        (
            CALL_ID,
            field("reason", WORD),
            field("duration_seconds", SECONDS),
            field(
                "streams",
                many(
                    parts(
                        medium=COUNT,
                        packets_to_caller=COUNT,
                        packets_to_callee=COUNT,
                        bytes_to_caller=COUNT,
                        bytes_to_callee=COUNT,
                        lost_to_caller_=COUNT,
                        lost_to_callee_=COUNT,
                        jitter_seconds_to_caller_=SECONDS,
                        jitter_seconds_to_callee_=SECONDS,
                        codec_to_caller_=maybe(TEXT),
                        codec_to_callee_=maybe(TEXT),
                    )
                ),
                "one a medium; `lost`, `jitter_seconds` (RFC 3550) and `codec` of its RTP, as it came here; not of "
                "what has passed in the kernel",
            ),
        ),
        budget=None,
    ),
    Event(
        "media.learned",
        "SIP with NAT: a party behind us names an address that nobody outside can mean, as of its VPN or of a "
        "container. Its media is expected from its own host alone; if `named` is another host after all, name it in "
        "`media_hosts`",
        (field("medium", TEXT), field("named", {"anyOf": [ENDPOINT, HOST]}), field("expected", HOST)),
        budget=None,
    ),
    Event(
        "registration.refused",
        "a final response to REGISTER that is no 2xx. A challenge (401, 407) is one if the phone had sent a password, "
        "which was wrong then",
        (
            field("aor", TEXT),
            field("contact", maybe(ENDPOINT), "the first one that it named of its own"),
            field("code", COUNT),
            field("reason", TEXT, "the words of the response"),
        ),
        severity="warning",
        budget=GUESSES,
    ),
    ADDED,
    ADDED.named("registration.refreshed", "a 2xx to a REGISTER, or a confirmation of RAS, that renews it", DIALOGUE),
    REMOVED,
    REMOVED.named("registration.expired", "its time is over", None),
    Event("sip.tls", "a connection that begins with TLS is relayed unread", (field("action", TEXT),), budget=None),
)
