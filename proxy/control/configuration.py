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
DEFAULTS = Parameter("defaults", Type.FLAG, "Show the keys with their default values, too")


def in_force(config: Config, with_defaults: bool) -> Row:
    """The row of the configuration in force."""
    return {
        "source": config.source,
        "hash": shown.hash_of(config),
        "warnings": list(config.warnings),
        "configuration": shown.plain(config, with_defaults=with_defaults),
    }
