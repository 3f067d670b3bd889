"""Lines about the daemon itself."""

from __future__ import annotations

from functools import partial

from proxy.record.events.budgets import BUG, REFUSED
from proxy.record.events.kinds import COUNT, ENDPOINT, NUMBER, SECONDS, TEXT, WORD, many, maybe, one_of
from proxy.record.events.row import Event, field, option

_Line = partial(Event, scope="daemon", budget=None)  # these are no peer's doing

EVENTS = (
    _Line(
        "daemon.started",
        "it serves. Whatever an earlier life of it had open and has not closed ended with that",
        (
            field("version", TEXT),
            field("config", TEXT, "the file"),
            field("hash", TEXT, "as in `config.reloaded`"),
            field("listen", many(ENDPOINT)),
            field("fastpath", one_of("on", "off"), "whether media may pass in the kernel (`network: fastpath`)"),
            option("fastpath_reason", WORD, "why not, as in `fastpath.lost`; or `configured_off`"),
        ),
        severity="notice",
    ),
    _Line(
        "daemon.stopping",
        "told to stop; transfers may end",
        (field("sessions", COUNT), field("transfers", COUNT)),
        severity="notice",
    ),
    _Line("daemon.stopped", "the last line", severity="notice"),
    _Line(
        "daemon.failed",
        "a bug outside any helper; the sessions and pinholes that it happened to are closed, the daemon goes on",
        (field("traceback", many(TEXT)),),
        severity="error",
        budget=BUG,
    ),
    _Line(
        "config.reloaded",
        "another configuration is in force",
        (
            field("config", TEXT, "the file"),
            field("hash", TEXT, "the same for two configurations exactly if they have the same effect"),
            field("changed", many(TEXT), "the keys that are otherwise"),
            field("ended", many(TEXT), "the sessions that it has ended"),
        ),
        severity="notice",
    ),
    _Line(
        "config.rejected",
        "the old configuration stays in force",
        (field("problems", many(TEXT)),),
        severity="error",
    ),
    _Line(
        "control.changed",
        "somebody has changed something by the control socket",
        (
            field("what", WORD, "reload, close, trace, switch or unswitch"),
            field("about", TEXT, "what was changed, in words"),
            field("uid", NUMBER, "the user, as the kernel knows it"),
            field("gid", NUMBER, "the group of the user's process"),
            field("pid", NUMBER, "the process"),
        ),
        severity="notice",
    ),
    _Line(
        "switch.ended",
        "the time of a switch is over (`POST /v1/switches`): the helper works again as it is configured",
        (
            field("helper", TEXT),
            field("mode", TEXT, "what it did until now: off or observe"),
            field("client", TEXT, "for whom: an address, a network, or all"),
        ),
        severity="notice",
    ),
    _Line(
        "listener.overloaded",
        "no descriptors left for a new session",
        (field("listen", ENDPOINT), field("reason", TEXT)),
        severity="error",
        budget=REFUSED,
    ),
    _Line(
        "rules.missing",
        "rules or routes that bring sessions here are gone or changed, or come after those of others: somebody flushed "
        "his ruleset, restarted a network, started a VPN. `pinhole status` says `degraded` and ends with 1. `pinhole "
        "net up` puts them back, and so does `pinhole net guard`, by itself",
        (field("parts", many(TEXT), "what is not as it was, in words"),),
        severity="error",
    ),
    _Line(
        "rules.restored",
        "they are back",
        (
            field("parts", many(TEXT), "what was missing"),
            field("seconds", SECONDS, "for how long"),
            field("by", TEXT, "`guard`, or `others`: an operator, or the program that took them away"),
            option("passed", COUNT, "sessions to ports of helpers that began meanwhile, and passed unread"),
            option("sessions", many(TEXT), "the first hundred of them, as `tcp CLIENT > SERVER`"),
        ),
        severity="notice",
    ),
    _Line(
        "fastpath.lost",
        "no further media passes in the kernel; it passes the daemon, and calls go on. With `no_holder`, what passes "
        "there already goes on so for half a minute",
        (
            field(
                "reason",
                WORD,
                "`no_holder`: `pinhole fastpath` has ended; `refused_by_kernel`; `ipsec_policies`, which the kernel's "
                "path would go round; `routing_by_mark`: routing rules ask for a mark that packets do not have there; "
                "`not_understood`: the holder is of another version",
            ),
            field("streams", COUNT, "how many the kernel carried"),
        ),
        severity="warning",
    ),
    _Line(
        "fastpath.back",
        "media may pass in the kernel from now on",
        (field("streams_limit", COUNT, "how many"),),
        severity="notice",
    ),
    _Line(
        "fastpath.full",
        "a stream of media stays in the daemon, because the kernel has no room for another one; once an hour at most",
        (field("streams_limit", COUNT, "how many it has room for"),),
        severity="warning",
    ),
    _Line(
        "audit.left_out",
        "lines of one kind that were too many (see below), and that no later one has told of",
        (
            field("of", TEXT, "an event"),
            field("kind", maybe(TEXT), "its `rule` or `reason`"),
            field("source", maybe(TEXT), "null: all together"),
            field("lines", COUNT),
        ),
        severity="notice",
    ),
    _Line(
        "audit.lost",
        "the log could not be written (disk full, reader gone) and the queue was full. It has no `seq` of its own: the "
        "lost lines are those that are missing by the `seq` of the lines around it",
        (field("sink", TEXT, "where"), field("lines", COUNT)),
        severity="error",
    ),
)
