"""What the policies of a FortiGate name: addresses and groups, virtual IPs, pools, services, zones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network, summarize_address_range
from itertools import count

from protocols.contract.addresses import Host, Network, Transport
from proxy.fortios.syntax import Block

EVERYBODY = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}

MOST_ADDRESSES = 64
"""How many single addresses are written for a range of them."""

Port = tuple[Transport, int, int]
"""A transport, and a first and a last port."""

_SERVICES: dict[str, tuple[Port, ...]] = {
    "FTP": ((Transport.TCP, 21, 21),),
    "FTP_GET": ((Transport.TCP, 21, 21),),
    "FTP_PUT": ((Transport.TCP, 21, 21),),
    "TFTP": ((Transport.UDP, 69, 69),),
    "PPTP": ((Transport.TCP, 1723, 1723),),
    "GRE": (),  # it belongs to PPTP, and a policy of ours needs no other word for it
    "SIP": ((Transport.TCP, 5060, 5060), (Transport.UDP, 5060, 5060)),
    "ALL_TCP": ((Transport.TCP, 1, 65535),),
    "ALL_UDP": ((Transport.UDP, 1, 65535),),
    "ALL": ((Transport.TCP, 1, 65535), (Transport.UDP, 1, 65535)),
    "ANY": ((Transport.TCP, 1, 65535), (Transport.UDP, 1, 65535)),
}
"""Services that every FortiGate has, as far as helpers have to do with them."""


@dataclass(slots=True)
class Networks:
    """The networks of one address of FortiOS, and what of it cannot be said."""

    networks: list[Network] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    """The names of its members, if it is a group."""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class VirtualIp:
    """An address that is published, and where it leads."""

    name: str
    interface: str
    """"any", or the interface by which clients come."""
    outside: Host | None
    """None: any address of the interface."""
    inside: Host
    ports: Port | None = None
    """None: all ports of all transports."""
    inside_port: int = 0
    """The port inside that the first of them leads to."""


class Objects:
    """The named objects of one virtual domain."""

    def __init__(self, domain: Block, common: Block) -> None:
        """`common` is the part that all domains share."""
        self._domain = domain
        self._common = common

    # -- addresses -------------------------------------------------------------------------------------------------

    def networks(self, name: str, version: int) -> Networks:
        """The networks of an address, or the members of a group."""
        six = "6" if version == 6 else ""
        group = self._domain.block(f"firewall addrgrp{six}").edits.get(name)
        if group is not None:
            problems = ["without its `exclude-member`"] if group.words("exclude-member") else []
            return Networks(members=group.words("member"), problems=problems)
        address = self._domain.block(f"firewall address{six}").edits.get(name)
        if address is None:
            return Networks(problems=[f"the file has no address {name!r}"])
        try:
            found = list(_networks_of(address, version))
        except ValueError:
            return Networks(problems=[f"{name!r} has no address that can be read"])
        kind = address.word("type", "ipmask" if version == 4 else "ipprefix")
        return Networks(
            found, problems=[] if found else [f"{name!r} is of the type {kind}, which no policy of ours knows"]
        )

    # -- virtual IPs -----------------------------------------------------------------------------------------------

    def virtual_ips(self, name: str) -> list[VirtualIp] | str | None:
        """What a name stands for, if it is a virtual IP or a group of them. A text says why it cannot be mapped."""
        group = self._domain.block("firewall vipgrp").edits.get(name)
        if group is None:
            return self._virtual_ip(name)
        found: list[VirtualIp] = []
        for member in group.words("member"):
            one = self._virtual_ip(member)
            if not isinstance(one, list):
                return one or f"the file has no virtual IP {member!r}"
            found += one
        return found

    def _virtual_ip(self, name: str) -> list[VirtualIp] | str | None:
        block = self._domain.block("firewall vip").edits.get(name)
        if block is None:
            return None
        kind = block.word("type", "static-nat")
        if kind != "static-nat":
            return f"the virtual IP {name!r} is of the type {kind}"
        if block.words("src-filter"):
            return f"the virtual IP {name!r} has a `src-filter`"
        try:
            outside, inside = list(_range(block.word("extip"))), list(_range(block.word("mappedip")))
            ports = inside_ports = range(0)
            forwarded: Port | None = None
            if block.is_on("portforward"):
                ports = _ports(block.word("extport"))
                inside_ports = _ports(block.word("mappedport", block.word("extport")))
                forwarded = Transport(block.word("protocol", "tcp")), ports[0], ports[-1]
        except ValueError:
            return f"the virtual IP {name!r} cannot be read"
        if len(outside) != len(inside) or len(inside) > MOST_ADDRESSES:
            return f"the virtual IP {name!r} maps {len(outside)} addresses to {len(inside)}"
        if len(ports) != len(inside_ports):
            return f"the virtual IP {name!r} maps {len(ports)} ports to {len(inside_ports)}"
        return [
            VirtualIp(
                name, block.word("extintf", "any"), self._outside(block, public), private, forwarded, inside_ports.start
            )
            for public, private in zip(outside, inside, strict=True)
        ]

    def _outside(self, block: Block, public: Host) -> Host | None:
        """The public address. 0.0.0.0 stands for that of the interface."""
        if int(public):
            return public
        own = self.interface_address(block.word("extintf", "any"))
        return own if own is not None and int(own) else None

    # -- the rest ----------------------------------------------------------------------------------------------------

    def interface_address(self, name: str) -> Host | None:
        """The address of an interface of the FortiGate."""
        block = self._common.block("system interface").edits.get(name)
        try:
            return ip_interface("/".join(block.words("ip"))).ip if block is not None else None
        except ValueError:
            return None

    def interfaces(self, names: Sequence[str]) -> list[str]:
        """Interfaces, with zones and the members of SD-WAN in the place of their names. Empty: any."""
        found: list[str] = []
        for name in names:
            zone = self._domain.block("system zone").edits.get(name)
            wan = self._domain.block("system sdwan").block("members").edits.values()
            members = [one.word("interface") for one in wan if one.word("zone", "virtual-wan-link") == name]
            found += zone.words("interface") if zone is not None else members or [name]
        return [] if "any" in found else list(dict.fromkeys(found))

    def pool(self, name: str) -> list[Host] | str:
        """The addresses of a pool. A text says why it cannot be mapped."""
        block = self._domain.block("firewall ippool").edits.get(name)
        if block is None:
            return f"the file has no pool {name!r}"
        try:
            found = list(_range(f"{block.word('startip')}-{block.word('endip', block.word('startip'))}"))
        except ValueError:
            return f"the pool {name!r} cannot be read"
        return found if len(found) <= MOST_ADDRESSES else f"the pool {name!r} has {len(found)} addresses"

    def ports(self, names: Sequence[str]) -> tuple[list[Port], list[str]]:
        """The ports of services and groups of services, and the names that nothing is known of."""
        found: list[Port] = []
        unknown: list[str] = []
        seen: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            group = self._domain.block("firewall service group").edits.get(name)
            own = self._domain.block("firewall service custom").edits.get(name)
            if group is not None:
                waiting += group.words("member")
            elif own is not None:
                found += _ports_of(own)
            elif name in _SERVICES:
                found += _SERVICES[name]
            else:
                unknown.append(name)
        return found, unknown


def _networks_of(address: Block, version: int) -> Iterator[Network]:
    """The networks of an address, if it is of a type that has some."""
    if version == 6:
        kind = address.word("type", "ipprefix")
        if kind == "ipprefix":
            yield IPv6Network(address.word("ip6", "::/0"), strict=False)
        elif kind == "iprange":
            yield from _summarized(address)
        return
    kind = address.word("type", "ipmask")
    if kind == "ipmask" or (kind == "interface-subnet" and address.words("subnet")):
        yield IPv4Network("/".join(address.words("subnet")) or "0.0.0.0/0", strict=False)
    elif kind == "iprange":
        yield from _summarized(address)


def _summarized(address: Block) -> Iterator[Network]:
    """The networks of a range of addresses."""
    first, last = ip_address(address.word("start-ip")), ip_address(address.word("end-ip"))
    yield from summarize_address_range(first, last)


def _range(text: str) -> Iterator[Host]:
    """The addresses from FIRST to LAST, or the only one. Raises ValueError."""
    first, _, last = text.partition("-")
    low, high = ip_address(first.strip()), ip_address((last or first).strip())
    if low.version != high.version or int(low) > int(high):
        raise ValueError(text)
    for number in count(int(low)):
        if number > int(high) or number > int(low) + MOST_ADDRESSES:
            return
        yield type(low)(number)


def _ports(text: str) -> range:
    """The ports from FIRST to LAST, or the only one. Raises ValueError."""
    first, _, last = text.partition("-")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65535:
        raise ValueError(text)
    return range(low, high + 1)


def _ports_of(service: Block) -> Iterator[Port]:
    """The destination ports of a service. FortiOS writes DESTINATION:SOURCE."""
    if service.word("protocol", "TCP/UDP/SCTP") in ("IP", "ALL") and service.word("protocol-number", "0") == "0":
        yield from _SERVICES["ALL"]
        return
    for transport in (Transport.TCP, Transport.UDP):
        for word in service.words(f"{transport.value}-portrange"):
            if found := re.match(r"([0-9]+)(?:-([0-9]+))?", word):
                yield transport, int(found[1]), int(found[2] or found[1])
