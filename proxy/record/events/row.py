"""What a row of the catalogue of events says: when a line is written, how grave it is, which fields it has,
and how many there may be."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

from proxy.record.events.budgets import Budget
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
    _: KW_ONLY
    budget: Budget | None
    """How many such lines may be written. None: no peer causes them at will, or limits bound what they tell of."""

    def named(self, name: str, when: str, budget: Budget | None) -> Event:
        """An event with the same fields."""
        return replace(self, name=name, when=when, budget=budget)


def field(name: str, schema: Schema, text: str = "") -> Field:
    """A field that every such line has."""
    return Field(name, schema, text)


def option(name: str, schema: Schema, text: str = "") -> Field:
    """A field that is left out where it means nothing."""
    return Field(name, schema, text, is_optional=True)
