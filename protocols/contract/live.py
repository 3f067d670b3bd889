"""What is under way in the engines of a helper, as operators ask for it: calls and registrations.

A driver asks the factory of the engines when somebody wants to see it, and never keeps a copy. So it costs nothing
while nobody looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, Protocol, runtime_checkable

from protocols.contract.addresses import Endpoint, Host, Transport
from protocols.contract.pinholes import Pinholes


def name_of(*parts: object) -> str:
    """A short name for what these parts identify. It is the same whenever somebody asks."""
    return blake2b(repr(parts).encode(), digest_size=5).hexdigest()


@dataclass(frozen=True, slots=True)
class Call:
    """A call between two parties."""

    id: str
    """A short name of ours. A call that comes back from its server passes twice, as two calls with one `call_id`."""
    call_id: bytes
    """The name that its parties gave it, as the audit log has it."""
    caller: bytes
    """Who calls, as the first request said; as `from` of `call.started`."""
    callee: bytes
    """Who is called; as `to` of `call.started`."""
    direction: Literal["out", "in"]
    """`out`: the caller is behind this gateway, or else on the side of the policy's client; `in`: the callee is. The
    audit log says the same."""
    state: Literal["ringing", "established", "ending"]
    began_at: float
    """When its first message came, by the clock that the engines are told."""
    started_at: float | None
    """When the callee accepted. None: not yet."""
    expires_at: float
    """When it is over unless it shows another sign of life."""
    media: tuple[int, ...]
    """The ids of the grants of its media."""
    pinholes: Pinholes
    """Those of the session that it began in, by which the driver knows the session."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An address at which somebody can be called."""

    id: str
    """A short name of ours."""
    aor: bytes
    """Who can be called: the address of record."""
    contact: Endpoint
    """The phone's own address."""
    known_as: Endpoint
    """The address by which others know it."""
    transport: Transport
    registrar: Host
    began_at: float
    """Since when the phone can be reached there."""
    expires_at: float
    """When it is over unless it is refreshed."""
    grant: int | None
    """The id of the grant through which calls come. None: the engine only observes, and has none."""
    pinholes: Pinholes
    """Those of the session that it was made in."""


@runtime_checkable
class Tells(Protocol):
    """An EngineFactory whose engines share a table may tell what is under way in it."""

    def calls(self) -> Iterable[Call]:
        """The calls that are not over. The table may change between two of them."""

    def registrations(self) -> Iterable[Registration]:
        """The registrations that stand. The table may change between two of them."""

    def call_of(self, grant: int) -> Call | None:
        """The call whose media has this grant. None: there is none."""
