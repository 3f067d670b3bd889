"""Sessions from captures: who spoke to whom, and what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.engine import Helper
from tests.harness.pcap import connections, datagrams
from tests.harness.playbook import NETWORKS, on
from tests.harness.recordings import PLACES
from tests.harness.scripts import Arrival, Step

Recorded = tuple[Peers, Transport, list[Step]]

_SEEN_AS = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:1::1")}
MAX_STEPS = 40
MAX_OF_ONE = 4
"""Sessions of one capture: the others are alike."""


def _paths(helper: Helper) -> list[Path]:
    """The captures of a helper, and of its family."""
    paths = (path for place in PLACES for path in sorted(place.glob(f"{helper.family or helper.name}*/*")))
    return list({path.name: path for path in paths}.values())


@cache
def recordings(helper: Helper) -> dict[str, Recorded]:
    """By a name for each: its capture, and its number in there. Single messages were said by either side."""
    found: dict[str, Recorded] = {}
    for path in _paths(helper):
        if ".pcap" in path.name:
            taken = [session for transport, port in helper.ports for session in _sessions(path, transport, port)]
        elif path.suffix in (".raw", ".dat"):
            taken = [_message(path, helper)]
        else:
            continue
        for number, session in enumerate(taken[:MAX_OF_ONE]):
            found[f"{path.name}#{number}"] = session
    return found


def let_in(helper: Helper, name: str, target: Endpoint) -> list[Step]:
    """What was said, in the capture of this recording, on a connection that one of its messages has announced."""
    path = next(path for path in _paths(helper) if path.name == name.partition("#")[0])
    found = (connection for connection in connections(path, target.port) if connection.server == target)
    steps: list[Step] = [Arrival(side, data) for connection in found for side, data in connection.said if data]
    return steps[:MAX_STEPS]


def _message(path: Path, helper: Helper) -> Recorded:
    transport, _ = helper.ports[0]
    data = path.read_bytes()
    return on(NETWORKS["none"], helper, transport), transport, [Arrival(side, data) for side in Side]


@cache
def captured(helper: Helper) -> dict[str, Peers]:
    """The addresses of each, by its name: as they were, with the client hidden behind an address of ours, and with the
    server published at one."""
    found: dict[str, Peers] = {}
    for name, (peers, _, _) in recordings(helper).items():
        found[name] = peers
        seen = Endpoint(_SEEN_AS[peers.server.host.version], peers.client.port)
        found[f"{name}+snat"] = replace(peers, client_as_seen=seen)
        published = Endpoint(_SEEN_AS[peers.client.host.version], peers.server.port)
        found[f"{name}+dnat"] = replace(peers, server_as_seen=published)
    return found


def _sessions(path: Path, transport: Transport, port: int) -> Iterator[Recorded]:
    if transport is Transport.TCP:
        for connection in connections(path, port):
            steps: list[Step] = [Arrival(side, data) for side, data in connection.said if data]
            ends = connection.client, connection.client, connection.server, connection.server
            yield Peers(*ends, transport), transport, steps[:MAX_STEPS]
        return
    flows: dict[frozenset[Endpoint], tuple[Peers, list[Step]]] = {}
    for datagram in datagrams(path, port):
        if not datagram.data:
            continue
        source, target = datagram.source, datagram.target
        peers, steps = flows.setdefault(
            frozenset((source, target)), (Peers(source, source, target, target, transport), [])
        )
        steps.append(Arrival(Side.CLIENT if source == peers.client else Side.SERVER, datagram.data))
    for peers, steps in flows.values():
        yield peers, transport, steps[:MAX_STEPS]
