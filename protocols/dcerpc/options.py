"""What a policy may set under `options: dcerpc:`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from protocols.contract.addresses import LEAST_PORT, Count, Network, Seconds
from protocols.contract.engine import Options
from protocols.dcerpc.interfaces import KNOWN, uuids_of
from protocols.dcerpc.wire import Uuid

PERMITS = {
    "dcerpc.interface_denied": "interfaces: [INTERFACE]",
    "dcerpc.lookup": "lookup: ignore",
    "dcerpc.elsewhere": "endpoint_hosts: [ADDRESS]",
    "dcerpc.other_port": "same_port: true",
    "dcerpc.too_many": "max_endpoints: NUMBER",
    "dcerpc.busy": "rates: {}",
    "pinhole.crowded": "max_connections: NUMBER",
}
"""Rule of a violation -> the option that would let it pass."""

MAX_CALLBACK_PORTS = 64
"""How many ports `callbacks` may have: each stands open for every server that a client activates something on."""


@dataclass(frozen=True)
class DcerpcOptions(Options):
    """What a policy may set under `options: dcerpc:`."""

    interfaces: tuple[str, ...] = ()
    """The interfaces that clients may find, by name or UUID, as [netlogon, lsarpc, samr, drsuapi]. Of any other one the
    client is told at once that it is not registered, and the server is not asked. Without it clients may find all that
    `policy` lets them."""

    deny_interfaces: tuple[str, ...] = ()
    """Interfaces that clients may not find, even if `interfaces` has them: svcctl, winreg, efsrpc."""

    policy: Literal["any", "known"] = "any"
    """Which interfaces clients may find where `interfaces` names none. `known`: only those that have a name here."""

    check_bind: bool = False
    """Whether connections to what is open are read, too, so that no other interface is bound there than those that may
    be found. A port serves all interfaces behind it: without this, the options above say what is found, and not what is
    used. DCOM then needs remunknown, remunknown2 and the interfaces of its objects among `interfaces`."""

    lookup: Literal["ignore", "open", "deny"] = "ignore"
    """What happens when a client asks for the list of all endpoints, as scanners do. `ignore`: it gets the list, and
    nothing is opened for it. `open`: all that it names is opened. `deny`: the server is not asked, and the client is
    told that it may not."""

    rates: Mapping[str, Count] = field(default_factory=dict)
    """How many such calls a second one client may make on its connections, as {ept_map: 20, ept_lookup: 1}, and five
    times as many in a row: whoever tries interface after interface is slow, and seen. More are not asked of the server,
    and the client is told that it is too busy. Without it there is no limit. Clients that are hidden behind one address
    are one client here, as are all addresses of a /64 of IPv6."""

    dcom: Literal["open", "ignore"] = "open"
    """Whether the answers of DCOM's activator and its resolver of objects are read and open what they name. `ignore`:
    they pass unread."""

    endpoint_hosts: tuple[Network, ...] = ()
    """Networks of hosts where an endpoint may be besides the host that was asked: the nodes of a cluster."""

    hold: Seconds = 3600.0
    """Seconds without a connection, after which an endpoint is closed. Clients remember ports, and come back without
    asking again."""

    same_port: bool = True
    """Whether an endpoint of a server that is published by `dnat` gets the port that it has on the server, if that is
    free. Answers of DCOM are signed as a rule and cannot be rewritten, so for them it has that port or is not
    opened."""

    callbacks: str = "deny"
    """A range of ports, as 5000-5020, at which a server may call a client back that has activated an object there, as
    OPC servers do with new data: the range that the client's own DCOM settings have. `deny`: no server may."""

    idle: Seconds = 3600.0
    """Seconds without a byte after which a connection to port 135 is closed."""

    endpoint_idle: Seconds = 86400.0
    """The same for connections to an endpoint: replication and events are silent for long. A connection may be silent
    for longer while both of its ends answer keep-alives (`timeouts: silent`), unless `check_bind` has it read."""

    max_endpoints: Count = 64
    """How many endpoints may be open for one client at once, ports of `callbacks` among them."""

    max_connections: Count = 64
    """How many connections a client may have to one endpoint at once. A further one is reset. Clients that are hidden
    behind one address are one client here. With `check_bind`, connections are sessions, which have limits of their
    own."""

    udp_calls: Count = 100
    """How many datagrams a second one address may send to port 135, and five times as many in a row. More are dropped:
    of a forged address there is no end of them. All addresses of a /64 of IPv6 are one."""

    udp_lookups: Count = 2
    """The same for calls that ask for the list of all endpoints, whose answers are longer than the call."""

    def __post_init__(self) -> None:
        for call in self.rates:
            if call not in ("ept_map", "ept_lookup"):
                raise ValueError(f"rates: {call!r} is neither ept_map nor ept_lookup")
        for key in ("interfaces", "deny_interfaces"):
            try:
                uuids_of(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        try:
            self.callback_ports()
        except ValueError as error:
            raise ValueError(f"callbacks: {error}") from None

    def may_be_found(self, interface: Uuid) -> bool:
        """Whether clients may find this interface (DC36)."""
        if self.deny_interfaces and interface in uuids_of(self.deny_interfaces):
            return False
        if self.interfaces:
            return interface in uuids_of(self.interfaces)
        return self.policy == "any" or interface in KNOWN

    def callback_ports(self) -> range:
        """The ports of `callbacks`; none, if servers may not call back. Raises ValueError."""
        if self.callbacks == "deny":
            return range(0)
        found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", self.callbacks)
        if found is None:
            raise ValueError("neither deny nor a range of ports, as 5000-5020")
        first, last = map(int, found.groups())
        if not LEAST_PORT <= first <= last <= 65535 or last - first >= MAX_CALLBACK_PORTS:
            raise ValueError(f"at most {MAX_CALLBACK_PORTS} ports, from {LEAST_PORT} to 65535, the lower one first")
        return range(first, last + 1)
