"""Lines that the helpers note: FTP, TNS, TFTP, RSH, SANE. Those of SIP stand in a module of their own."""

from __future__ import annotations

from proxy.record.events.budgets import DIALOGUE
from proxy.record.events.kinds import COUNT, ENDPOINT, NUMBER, SECONDS, TEXT, YES, Schema, maybe, numbered, one_of
from proxy.record.events.row import Event, field, option

_TEXT_OR_NUMBER: Schema = {"type": ["string", "integer", "null"]}
DIRECTION = field("direction", one_of("read", "write"))

EVENTS = (
    Event(
        "ftp.login",
        "the server answered the login",
        (field("user", maybe(TEXT)), field("result", NUMBER, "the reply code: 230 logged in, 530 refused")),
        budget=DIALOGUE,
    ),
    Event(
        "ftp.transfer",
        "its final reply and the end of its data are both known; at the end of the session with what is known (null: "
        "not known)",
        (
            field("command", TEXT),
            field("path", maybe(TEXT)),
            field("bytes", maybe(COUNT)),
            field("seconds", maybe(SECONDS)),
            field("result", maybe(NUMBER), "the final reply code"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "ftp.tls",
        "AUTH: relayed unread from here on, or refused (`tls: deny`)",
        (option("mechanism", TEXT), field("action", TEXT)),
        budget=DIALOGUE,
    ),
    Event(
        "tns.connect",
        "a client has asked its listener for a service",
        (
            field("version", maybe(NUMBER)),
            option("service", _TEXT_OR_NUMBER, "this and the following: what the client named"),
            option("sid", _TEXT_OR_NUMBER),
            option("program", _TEXT_OR_NUMBER),
            option("host", _TEXT_OR_NUMBER),
            option("user", _TEXT_OR_NUMBER),
        ),
        budget=None,
    ),
    Event(
        "tns.accepted", "it was let in; from now on nothing is read", (field("version", maybe(NUMBER)),), budget=None
    ),
    Event(
        "tns.refused",
        "it was not let in",
        (field("error", maybe(NUMBER), "the number of the ORA- error, 12564 for a refusal by pinhole"),),
        budget=None,
    ),
    Event(
        "tns.redirected",
        "it was sent elsewhere, and a pinhole stands at `known_as`",
        (field("from", ENDPOINT), field("to", ENDPOINT), field("known_as", ENDPOINT), field("hop", COUNT)),
        budget=None,
    ),
    Event("tns.tls", "a connection that begins with TLS is relayed unread", (field("action", TEXT),), budget=None),
    Event(
        "tns.unread",
        "after an answer that is none of a handshake the connection is relayed unread",
        (field("type", _TEXT_OR_NUMBER),),
        budget=None,
    ),
    Event(
        "tftp.request",
        "a client has asked for a file, or wants to store one",
        (DIRECTION, field("file", TEXT), field("mode", TEXT), field("options", numbered(TEXT))),
        budget=DIALOGUE,
    ),
    Event(
        "tftp.transfer",
        "one line a transfer",
        (
            DIRECTION,
            field("file", TEXT),
            field("bytes", COUNT),
            field("blocks", COUNT),
            field("repeated", COUNT, "DATA that came again or too early"),
            field("block_bytes", COUNT),
            field("window", COUNT),
            field("seconds", SECONDS),
            field(
                "result",
                TEXT,
                "`complete`, `error CODE TEXT` as one of the two said it, `timeout`, `unanswered`, `refused` by an "
                "option, `replaced` by another request of the same port, or `cut` with its session",
            ),
            option("size", COUNT, "as its sender has told it"),
            option("size_mismatch", YES, "the file had not the size that was told"),
        ),
        # The client of this session is the server, which may have a thousand machines boot at once; and each line costs
        # a request with a pinhole.
        budget=None,
    ),
    Event(
        "rsh.command",
        "a client has asked for a command, and its server is told so. Neither the command nor a password is logged",
        (
            field("service", one_of("rsh", "rexec", "unread"), "`unread`: at other ports no users are read"),
            option("local_user", TEXT, "rsh: who the user is on the client's host, as that says"),
            option("remote_user", TEXT, "the user on the server for whom the command is to run"),
            option("stderr_port", COUNT, "where the client awaits the connection for error output"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "rsh.refused",
        "the server runs no command",
        (field("text", TEXT, "why, in the server's words"),),
        budget=DIALOGUE,
    ),
    Event(
        "rsh.syslog",
        "a connection that begins as syslog over TCP is relayed unread",
        (field("action", TEXT),),
        budget=DIALOGUE,
    ),
    Event(
        "sane.opened",
        "a client has opened a scanner",
        (
            field("device", TEXT, "as its server calls it"),
            field("handle", COUNT, "by which the two refer to it"),
        ),
        budget=DIALOGUE,
    ),
    Event(
        "sane.refused",
        "a server has not done what it was asked for. Neither a user nor a password is logged",
        (
            field("request", one_of("INIT", "OPEN", "START")),
            field(
                "status", TEXT, "as SANE calls it, in small letters, such as `device_busy` or `no_docs`; or its number"
            ),
        ),
        budget=DIALOGUE,
    ),
)
