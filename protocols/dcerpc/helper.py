"""What a daemon has of DCE-RPC: engines for connections to port 135, for datagrams to it, and for connections to
endpoints whose binds are checked."""

from __future__ import annotations

from collections.abc import Mapping

from protocols.contract.addresses import Peers, Transport
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import Pinholes
from protocols.dcerpc import datagrams
from protocols.dcerpc.bound import BoundEngine
from protocols.dcerpc.datagrams import DatagramEngine
from protocols.dcerpc.endpoints import Bound, Shared
from protocols.dcerpc.options import PERMITS, DcerpcOptions
from protocols.dcerpc.session import SessionEngine


class DcerpcEngines:
    """Makes the engines of one daemon, which share what is open."""

    def __init__(self) -> None:
        self._shared = Shared()

    def __call__(self, peers: Peers, options: DcerpcOptions, pinholes: Pinholes, now: float) -> Engine:
        if isinstance(peers.role, Bound):
            return BoundEngine(peers, options, now, self._shared)
        if peers.transport is Transport.UDP:
            return DatagramEngine(peers, options, pinholes, now, self._shared)
        return SessionEngine(peers, options, pinholes, now, self._shared)

    def counts(self) -> Mapping[str, int]:
        """What is open, for the daemon's status."""
        return self.standing()

    def standing(self) -> Mapping[str, int]:
        return {"endpoints": len(self._shared.endpoints)}


HELPER = Helper(
    name="dcerpc",
    summary="DCE-RPC of Windows and Samba: interfaces at the ports that port 135 tells, and objects of DCOM",
    ports=((Transport.TCP, 135), (Transport.UDP, 135)),
    options=DcerpcOptions,
    permits=PERMITS,
    start=DcerpcEngines,
    begins=lambda data, options, role: datagrams.is_call(data),
    purposes=("rpc", "rpc-callback"),
    roles=(Bound,),
    idle=lambda options: datagrams.IDLE_SECONDS,
)
