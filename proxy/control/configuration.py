"""The configuration in force, and what a reload makes of it, as programs read them."""

from __future__ import annotations

from proxy.config import shown
from proxy.config.schema import Config
from proxy.control.parameters import Parameter, Type
from proxy.control.shapes import Field, Kind, Row, Shape

IN_FORCE = Shape(
    "configuration",
    "The configuration in force.",
    {
        "source": Field(Kind.TEXT, "The file that it comes from"),
        "hash": Field(Kind.WORD, "The same for two configurations exactly if they have the same effect"),
        "warnings": Field(Kind.WORDS, "What in it is allowed and yet unwise"),
        "configuration": Field(Kind.OBJECT, "Its keys, as a file has them; secrets are hidden"),
    },
)
CHANGE = Shape(
    "change",
    "A key that is otherwise, with `before` and `after`: any values, null where there is none.",
    {"key": Field(Kind.TEXT, "The key; an element of a list goes by its name, as `policies[lan].snat`")},
    is_open=True,
)
ENDING = Shape(
    "ending",
    "A session that the configuration lets go on no more.",
    {
        "id": Field(Kind.WORD, "Its name"),
        "helper": Field(Kind.WORD, "Its helper"),
        "policy": Field(Kind.WORD, "The policy that let it in"),
        "client": Field(Kind.ENDPOINT, "Its client"),
        "server": Field(Kind.ENDPOINT, "Its server, as the client dialled it"),
        "reason": Field(Kind.WORD, "Why it ends, as in `session.denied`"),
        "calls": Field(Kind.INTEGER, "How many calls end with it"),
    },
)
RELOADED = Shape(
    "reloaded",
    "What became of a reload, or would become of it.",
    {
        "ok": Field(Kind.FLAG, "Whether the configuration is in force, or could be"),
        "dry_run": Field(Kind.FLAG, "Whether nothing was done"),
        "hash": Field(Kind.WORD, "The hash of the configuration", may_be_null=True),
        "problems": Field(Kind.WORDS, "What is wrong with it"),
        "warnings": Field(Kind.WORDS, "What in it is allowed and yet unwise"),
        "remarks": Field(Kind.WORDS, "What the operator still has to do"),
        "changes": Field(Kind.OBJECT, "What is otherwise, key by key", rows=CHANGE),
        "ends": Field(Kind.OBJECT, "The sessions that it ends, a thousand at most", rows=ENDING),
        "ends_total": Field(Kind.INTEGER, "How many there are"),
    },
    is_open=True,
)
DRY_RUN = Parameter("dry_run", Type.FLAG, "Only tell what it would change and end")
DEFAULTS = Parameter("defaults", Type.FLAG, "Show the keys with their default values, too")


def in_force(config: Config, with_defaults: bool) -> Row:
    """The row of the configuration in force."""
    return {
        "source": config.source,
        "hash": shown.hash_of(config),
        "warnings": list(config.warnings),
        "configuration": shown.plain(config, with_defaults=with_defaults),
    }
