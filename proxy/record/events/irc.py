"""Lines that the helper of IRC notes."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, ENDPOINT, SECONDS, TEXT, WORD, maybe, one_of
from proxy.record.events.row import Event, field, option

_OFFER = (
    field("direction", one_of("out", "in"), "`out`: the client offers; `in`: a stranger does"),
    field("type", TEXT, "of DCC: `SEND`, `CHAT` and the like"),
    field("nick", TEXT, "the other user; of an offer to a channel, the channel"),
    option("file", TEXT),
    option("size", COUNT, "as it was said"),
)

EVENTS = (
    Event(
        "irc.registered",
        "a server has let the client in",
        (field("nick", TEXT), field("user", TEXT), field("server_name", TEXT, "as the server calls itself")),
        budget=None,
    ),
    Event(
        "irc.dcc",
        "a user has offered a file or a chat to another one",
        (
            *_OFFER,
            field("at", ENDPOINT, "where the one who offers says to wait; port 0: the other one is to wait"),
            option("token", TEXT),
            field("result", one_of("opened", "passed", "refused"), "nothing is opened but for `opened`"),
            option("reason", WORD, "of `refused`: a rule without `irc.`, or why no pinhole could be had"),
            option("known_as", ENDPOINT, "where the pinhole stands, for anybody unless `dcc_peers` says who may come"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "irc.transfer",
        "a connection between users that came by a pinhole is over",
        (
            *_OFFER,
            field("peer", ENDPOINT, "who came, by the address that this gateway saw"),
            field("bytes_in", maybe(COUNT), "from `peer`"),
            field("bytes_out", maybe(COUNT), "to `peer`"),
            field("seconds", maybe(SECONDS), "since the offer"),
            field("result", WORD, "as in `pinhole.closed`; `unfinished`: it goes on, and nobody follows it any more"),
        ),
        budget=None,
    ),
    Event(
        "irc.tls",
        "TLS, or an attempt at it: what is said by it cannot be read, so DCC needs a way of its own",
        (field("action", TEXT),),
        budget=DIALOGUE,
    ),
    Event(
        "irc.unread",
        "a session is relayed unread from here on",
        (field("reason", WORD, "`server_link`: two servers talk to each other"),),
        budget=None,
    ),
)
