"""What clients and servers of DCE-RPC say to an engine in turn, and what has come of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Abort
from protocols.contract.engine import Shares
from protocols.dcerpc.helper import HELPER
from protocols.dcerpc.options import DcerpcOptions
from tests.harness.dcerpc_messages import EPM, NDR32, asks, bind, bound, maps, request, response, tower
from tests.harness.playbook import NETWORKS, Session, on
from tests.harness.scripts import begin, pinholes_of

PEERS = on(NETWORKS["none"], HELPER, Transport.TCP)
PUBLISHED = on(NETWORKS["dnat"], HELPER, Transport.TCP)
CLIENT, SERVER = Side.CLIENT, Side.SERVER
INSIDE = "10.0.0.5"
"""Where the server of `PUBLISHED` is."""


def session(peers: Peers = PEERS, beside: Session | None = None, **options: Any) -> Session:
    """One whose pinholes fail the test of whoever asks for what it has no right to."""
    made = DcerpcOptions(**options)
    return begin(HELPER, peers, made, beside.engines if beside else None, beside)


def hears(one: Session, side: Side, data: bytes) -> None:
    pinholes_of(one).hear(side, data)
    one.receive(side, data)


def talk(one: Session, *said: bytes) -> Session:
    """What the client and the server say in turn."""
    for number, data in enumerate(said):
        hears(one, SERVER if number % 2 else CLIENT, data)
    return one


def agreed(one: Session, interface: tuple[UUID, int] = (EPM, 3), syntax: tuple[UUID, int] = NDR32) -> Session:
    return talk(one, bind(interface, syntaxes=(syntax,)), bound(syntax))


def opened(one: Session) -> list[str]:
    return [str(grant.listen) for grant in one.pinholes.expected()]


def standing(one: Session) -> Mapping[str, int]:
    """What stands in the table that it shares with others."""
    assert isinstance(one.engines, Shares)
    return one.engines.standing()


def ended_by(one: Session) -> str:
    (abort,) = (effect for effect in one.effects if isinstance(effect, Abort))
    return abort.reason


def asked(one: Session, *answers: bytes, call: int = 2) -> Session:
    """An ept_map, and these towers as its answer."""
    return talk(one, request(3, asks(), call=call), response(maps(*answers or (tower(),)), call=call))
