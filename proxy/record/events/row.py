"""What a row of the catalogue of events says: when a line is written, how grave it is, and which fields it has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from proxy.record.events.kinds import Schema

Severity = Literal["info", "notice", "warning", "error"]
Scope = Literal["session", "peer", "daemon"]
"""What a line is about: a session (it has the fields of `SESSION`), a peer that has no session, or the daemon."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a line."""

    name: str
    schema: Schema
    text: str = ""
    """A sentence that says what it means, where the name does not."""
    is_optional: bool = False
    """The field is left out where it means nothing."""


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of line."""

    name: str
    when: str
    """When it is written."""
    fields: tuple[Field, ...] = ()
    """Those of its own. `catalogue.fields_of` has all of them."""
    scope: Scope = "session"
    severity: Severity = "info"

    def named(self, name: str, when: str) -> Event:
        """An event with the same fields."""
        return replace(self, name=name, when=when)


def field(name: str, schema: Schema, text: str = "") -> Field:
    """A field that every such line has."""
    return Field(name, schema, text)


def option(name: str, schema: Schema, text: str = "") -> Field:
    """A field that is left out where it means nothing."""
    return Field(name, schema, text, is_optional=True)
