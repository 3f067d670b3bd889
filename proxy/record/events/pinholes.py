"""Lines about pinholes and what passes them."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE, Budget
from proxy.record.events.kinds import (
    COUNT,
    ENDPOINT,
    HOST,
    NETWORK,
    SECONDS,
    TEXT,
    TRANSPORT,
    WORD,
    many,
    maybe,
    one_of,
    parts,
)
from proxy.record.events.row import Event, field, option

ALLOW = field("allow", many(NETWORK), "who may come")
NUMBER = field("pinhole", TEXT, "unique over restarts and gateways")
PURPOSE = field("purpose", TEXT, "what it carries")
TRIGGER = field("trigger", TEXT, "the command, reply or message that asked")
TARGET = field("target", maybe(ENDPOINT), "where it leads (null: not known yet)")

REWRITTEN = Event(
    "address.rewritten",
    "with NAT, one line a message",
    (
        field("message", TEXT),
        field("changes", many(parts(field=TEXT, before=maybe(TEXT), after=maybe(TEXT)))),
    ),
    budget=DIALOGUE,
)

EVENTS = (
    Event(
        "pinhole.opened",
        "it is open",
        (
            NUMBER,
            PURPOSE,
            field("transport", TRANSPORT),
            field("listen", maybe(ENDPOINT), "where others come to (null: not known yet)"),
            field(
                "allow",
                many(NETWORK),
                "who may come; empty while a port is only reserved for a Contact that nobody has agreed to yet",
            ),
            TARGET,
            field("expires_seconds", maybe(SECONDS), "unless it is used (null: media on hold)"),
            TRIGGER,
            option("cseq", COUNT, "of media, the number of that message"),
            option("rtcp", maybe(ENDPOINT), "of media"),
            option("answers", maybe(TEXT), "of media, the pinhole of the party that offered"),
        ),
        budget=None,
    ),
    Event(
        "pinhole.joined",
        "of media: the offer has an answer, and from now on the answerer may come to the offerer's pinhole",
        (NUMBER, ALLOW, field("answered_at", TEXT, "the pinhole of the party that answered")),
        budget=None,
    ),
    Event(
        "pinhole.renewed",
        "others may come through it from now on",
        (NUMBER, ALLOW, field("expires_seconds", maybe(SECONDS))),
        budget=DIALOGUE,
    ),
    Event(
        "pinhole.refused",
        "one was asked for and is not opened",
        (
            PURPOSE,
            field("transport", TRANSPORT),
            field("listen", {"anyOf": [ENDPOINT, HOST, {"type": "null"}]}),
            TARGET,
            TRIGGER,
            field(
                "reason",
                WORD,
                "a limit, no free port, a forbidden target (`target_is_gateway`: an address of this host that is none "
                "of the session's own two); `reader_` and a reason of `session.denied`: no session of the helper that "
                "was to read what comes would be let in; `not_permitted`: a port below 1024, which this process may "
                "not bind; `no_memory`: the kernel has none for another socket. Of media: `third_host`, an address "
                "that is reached by another interface than its party, is none of a single host, or is not named by the "
                "policy; `limit_of_offers`, the client has too many offers that nobody has answered; "
                "`transport_not_carried`, a transport that no mover carries yet",
            ),
        ),
        severity="notice",
        budget=Budget(10, 60.0, "reason", in_all=50),
    ),
    Event(
        "pinhole.used",
        "the expected peer came",
        (
            NUMBER,
            field("peer", ENDPOINT),
            option(
                "dialled_from",
                maybe(ENDPOINT),
                "the address and port that the target is dialled from, and sees (null: it could not be dialled). "
                "Absent where a helper reads what comes, and of media, which goes out from the other party's pinhole",
            ),
            option("protocol", one_of("rtp", "rtcp", "stun", "dtls", "zrtp", "other"), "of media, of its first packet"),
        ),
        budget=None,
    ),
    Event(
        "pinhole.closed",
        "nothing is left of it",
        (
            NUMBER,
            field("reason", WORD, "see below"),
            field("duration_seconds", SECONDS),
            option("bytes_in", COUNT, "from the peer that came"),
            option("bytes_out", COUNT, "to it"),
            option("packets_in", COUNT, "of media and datagrams"),
            option("packets_out", COUNT),
            option("packets_in_kernel", COUNT, "of media: how many of both directions the kernel has passed"),
            option("packets_refused", COUNT, "those of others, or that came by the wrong interface"),
            option("packets_lost", COUNT, "those that came in and could not be sent on"),
            option(
                "sessions",
                COUNT,
                "where a helper reads what comes: how many came. What passed is in their `session.closed`",
            ),
            option("refused", COUNT, "how often somebody came who may not, or with too many connections"),
            option(
                "gave_way",
                COUNT,
                "of datagrams: how many peers came while there were as many as may be at once, or no port was "
                "left. Each took the place of the one that had been silent for longest, and has no line `pinhole.used`",
            ),
        ),
        budget=None,
    ),
    Event(
        "pinhole.progress",
        "`audit: progress`: it stands for long, and so much has passed until now",
        (
            NUMBER,
            PURPOSE,
            field("duration_seconds", SECONDS, "since it was opened"),
            field("bytes_in", COUNT),
            field("bytes_out", COUNT),
            option("packets_in", COUNT),
            option("packets_out", COUNT),
        ),
        budget=None,
    ),
    REWRITTEN,
    REWRITTEN.named("address.observed", "with `mode: observe`: what would have been rewritten", DIALOGUE),
    Event(
        "address.kept",
        "an address that no NAT of the session maps. Of SIP, `reason` says why it was left: `other_transport`, a "
        "registered contact for another transport than the phone signals by, or media over one that is not followed; "
        "`host_name`, `multicast`, `no_address`, `ice_passed`, `third_host` and the like of media; `said_by_other`, "
        "media that a proxy forwards for somebody who has put it at a port of the proxy's host; `second`, a further "
        "description in one message; `not_followed`, `not_mapped`, a line, body or field that names a mapped address; "
        "or a value that is not as the grammar has it, with its line and column. Of RTSP: `not_asked_for`, ports that "
        "the client has not named; `behind_a_nat`, a private address that a server with a public one gives as its "
        "own; or why the server's place could not be had",
        (
            field("message", TEXT),
            field("changes", many(parts(field=TEXT, value=maybe(TEXT), reason=TEXT))),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "pinhole.observed",
        "with `mode: observe`: what would have been opened",
        (PURPOSE, TRIGGER, field("listen", maybe(ENDPOINT)), TARGET, ALLOW),
        budget=DIALOGUE,
    ),
)
