"""Lines that RTSP notes: sessions and the streams in them."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, ENDPOINT, SECONDS, TEXT, many, maybe, one_of, parts
from proxy.record.events.row import Event, field, option

_KINDS = one_of("udp", "interleaved", "multicast")
_SESSION = field("rtsp_session", TEXT, "a name for its id, which would let somebody else end it")
_URL = field("url", TEXT, "without what stands before @, and without the values of passwords and the like")
_STREAMS = field("streams", many(parts(url=TEXT, transport=_KINDS)))
_PASSED = (
    field("packets_to_client", COUNT, "this and the following: datagrams, or interleaved frames"),
    field("bytes_to_client", COUNT),
    field("packets_to_server", COUNT),
    field("bytes_to_server", COUNT),
)

EVENTS = (
    Event(
        "rtsp.session",
        "the first 2xx to a SETUP: a server has begun a session",
        (_SESSION, _URL, field("user_agent", TEXT), field("server_agent", TEXT, "what the server calls itself")),
        budget=DIALOGUE,
    ),
    Event("rtsp.play", "the first 2xx to PLAY of a session", (_SESSION, _STREAMS), budget=DIALOGUE),
    Event("rtsp.record", "the first 2xx to RECORD of a session", (_SESSION, _STREAMS), budget=DIALOGUE),
    Event("rtsp.multicast", "a stream that is multicast: nothing was opened for it", (_SESSION, _URL), budget=DIALOGUE),
    Event(
        "rtsp.stream",
        "a stream has ended",
        (
            _SESSION,
            _URL,
            field("transport", _KINDS),
            field("client_media", maybe(ENDPOINT), "where it takes data (null: not by UDP)"),
            field("server_media", maybe(ENDPOINT), "the same of the server (null: it has not said)"),
            *_PASSED,
            field("seconds", SECONDS),
            option("lost_to_client", COUNT, "of RTP, as the lines of calls have it; this and the following"),
            option("jitter_seconds_to_client", SECONDS),
            option("codec_to_client", maybe(TEXT)),
            option("lost_to_server", COUNT),
            option("jitter_seconds_to_server", SECONDS),
            option("codec_to_server", maybe(TEXT)),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "rtsp.ended",
        "a session is over, and all its streams have ended",
        (
            _SESSION,
            field("seconds", SECONDS),
            *_PASSED,
            field(
                "cause",
                TEXT,
                "`teardown`; `timeout`: neither a message nor a packet for too long; `lost`: its connection; "
                "`violation`; `unread`: its connection is relayed unread from here on; `cut` with the daemon; or the "
                "reason of `pinhole.closed`",
            ),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "rtsp.redirected",
        "a server sends its client elsewhere, by REDIRECT or a 3xx",
        (field("message", TEXT), field("location", TEXT)),
        budget=DIALOGUE,
    ),
    Event(
        "rtsp.tunnel",
        "RTSP in HTTP: one of the two connections of a tunnel, which is relayed unread",
        (field("message", TEXT, "GET or POST"),),
        budget=DIALOGUE,
    ),
    Event("rtsp.tls", "a connection that begins with TLS is relayed unread", (field("action", TEXT),), budget=None),
)
