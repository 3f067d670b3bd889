"""What a policy may set under `options: pmap:`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import Count, Network, Seconds
from protocols.contract.engine import Options
from protocols.pmap.programs import numbers_of

PERMITS = {
    "pmap.program_denied": "programs: [PROGRAM]",
    "pmap.indirect": "indirect: pass",
    "pmap.dump": "dump: pass",
    "pmap.low_port": "min_port: 1",
    "pmap.elsewhere": "service_hosts: [ADDRESS]",
    "pmap.too_many": "max_services: NUMBER",
}
"""Rule of a violation -> the option that would let it pass."""


@dataclass(frozen=True)
class PmapOptions(Options):
    """What a policy may set under `options: pmap:`."""

    programs: tuple[str | int, ...] = ()
    """The programs that clients may find, by name or number, as [nfs, mountd, nlockmgr, status, rquotad]. Of any other
    one the client is told at once that it is not registered, and the server is not asked. Without it clients may find
    all programs."""

    deny_programs: tuple[str | int, ...] = ()
    """Programs that clients may not find, even if `programs` has them."""

    dump: Literal["pass", "hide", "deny"] = "pass"
    """What happens when a client asks for the list of all services. `pass`: it gets the list, and nothing is opened for
    it. `hide`: the list has only what is open for this client. `deny`: the server is not asked, and the client is told
    that there is no such procedure."""

    indirect: Literal["deny", "pass"] = "deny"
    """Whether clients may have the portmapper call another service for them (CALLIT, BCAST, INDIRECT). Such a call
    comes from the server's own host, where no list of clients stops it. `deny`: a client on TCP is told that there is
    no such procedure; one on UDP hears nothing."""

    min_port: Annotated[int, Ge(1), Le(65535)] = 512
    """The lowest port that may be opened. Many services of RPC have ports from 600 to 1023. Those of rsh, LDAP over
    TLS and others that stand among them are never opened."""

    service_hosts: tuple[Network, ...] = ()
    """Networks of hosts where services may be besides the host of the portmapper: a cluster whose services have
    addresses of their own."""

    hold: Seconds = 600.0
    """Seconds from an answer to the first use of what it has opened."""

    idle: Seconds = 86400.0
    """Seconds without a connection, after which a service that was used is closed. Clients remember ports: a kernel
    that has mounted a file system ends a connection that is idle for five minutes, and comes back hours later without
    asking. A connection may be silent for as long, or for longer while both of its ends answer keep-alives (`timeouts:
    silent`)."""

    same_port: bool = True
    """Whether a service of a server that is published by `dnat` gets the port that it has on the server, if that is
    free and not below 1024."""

    reserved_source: Literal["auto", "never"] = "auto"
    """The port by which the server sees a client. `auto`: one from 512 to 1023 for a client that came from such a port,
    because servers of NFS demand one. `never`: any."""

    max_services: Count = 64
    """How many services may be open for one client at once. Of any further one the client is told that it is not
    registered."""

    udp_calls: Count = 100
    """How many calls a second one address may make over UDP, and five times as many in a row. More are dropped: a
    client repeats them, and of a forged address there is no end of them. All addresses of a /64 of IPv6 are one."""

    udp_dumps: Count = 2
    """The same for calls whose answers are longer than the call: lists of services, and statistics."""

    def __post_init__(self) -> None:
        for key in ("programs", "deny_programs"):
            try:
                numbers_of(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None

    def may_be_found(self, program: int) -> bool:
        """Whether clients may find this program (PM26)."""
        if program in numbers_of(self.deny_programs):
            return False
        return not self.programs or program in numbers_of(self.programs)
