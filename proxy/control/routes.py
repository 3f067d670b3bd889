"""The table of routes of the control socket: for each its method, path, parameters, who may ask, and its answer.

The server answers by this table, and the OpenAPI description is generated from it. A route knows no HTTP beyond that.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from proxy.control import filters
from proxy.control.parameters import Parameter
from proxy.control.shapes import Row, Shape


class Right(Enum):
    """What somebody may do on the control socket."""

    LOOK = "look"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, as the kernel says (SO_PEERCRED)."""

    uid: int
    gid: int
    pid: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read."""

    query: Mapping[str, Any]
    """The parameters of the query that were given."""
    peer: Peer
    name: str = ""
    """The name in the path, of a route that has one."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer is a list of rows, under one name: `{"sessions": [...]}`. Each row is made when it is sent."""

    name: str
    shape: Shape
    rows: Callable[[Asked], Iterator[Row]]
    """All rows. The filters of the request are applied to them."""


@dataclass(frozen=True, slots=True)
class Single:
    """The answer is one object."""

    shape: Shape | None
    """None: any object."""
    make: Callable[[Asked], Any]
    """Returns the object, or an awaitable of it."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The answer is a stream of server-sent events that ends when either side goes away."""

    shape: Shape | None
    """What the data of each event looks like. None: any object."""
    items: Callable[[Asked], AsyncIterator[tuple[str, str]]]
    """The name and the data, as JSON, of each event."""


@dataclass(frozen=True, slots=True)
class Text:
    """The answer is text."""

    content_type: str
    make: Callable[[], Awaitable[tuple[int, bytes]]]
    """Returns the status of HTTP and the text."""


Answer = Listing | Single | Stream | Text


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked for, or done."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    answer: Answer
    parameters: tuple[Parameter, ...] = ()
    """Beside the filters of a list, which follow from its rows."""
    right: Right = Right.LOOK
    may_fail: tuple[int, ...] = ()
    """The statuses of its refusals, beside 400 for parameters."""
    is_old: bool = field(default=False, kw_only=True)
    """Whether it is kept only for those who know it."""

    @property
    def name(self) -> str:
        """Its name, made of method and path: get_v1_sessions_id."""
        return re.sub(r"[^a-z0-9]+", "_", f"{self.method} {self.path}".lower()).strip("_")

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """Its parameters, with those of its filters."""
        if isinstance(self.answer, Listing) and not self.is_old:
            return (*self.parameters, *filters.parameters_of(self.answer.shape))
        return self.parameters
