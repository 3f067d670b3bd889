"""What a policy may set under `options: sane:`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from protocols.contract.addresses import Seconds
from protocols.contract.engine import Options

PERMITS = {
    "sane.not_sane": "malformed: pass",
    "sane.malformed": "malformed: pass",
    "sane.out_of_turn": "malformed: pass",
}
"""Rule of a violation -> the option that would let it pass."""


@dataclass(frozen=True)
class SaneOptions(Options):
    """What a policy may set under `options: sane:`."""

    malformed: Literal["pass", "deny"] = "pass"
    """What becomes of a connection that does not begin as SANE does, or on which something is said that has no form of
    SANE or comes out of turn. `pass`: it is relayed unread from there on, and nothing is opened for it any more.
    `deny`: it is closed."""

    idle: Annotated[Seconds, Ge(300)] = 7200.0
    """Seconds without a byte, after which a connection is closed on which no picture is on its way, or that of a
    picture. saned itself waits an hour for a request."""
