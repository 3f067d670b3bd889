"""A connection of call signalling, and the H.245 of its calls, as tests drive them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from protocols.contract.addresses import Peers, Side
from protocols.contract.pinholes import Grant
from protocols.h323.helper import HELPER, H323Engines
from protocols.h323.options import H323Options
from protocols.h323.ways import Control
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, Session, on
from tests.protocols.h323 import messages as m

CLIENT, SERVER = Side.CLIENT, Side.SERVER
TCP = HELPER.ports[0][0]


def network(name: str) -> Peers:
    return on(NETWORKS[name], HELPER, TCP)


@dataclass
class Calls:
    """The engines of one daemon."""

    network: str = "snat"
    options: H323Options = field(default_factory=H323Options)
    engines: H323Engines = field(default_factory=H323Engines)

    def __post_init__(self) -> None:
        self.peers = network(self.network)
        pinholes = FakePinholes()
        self.signalling = Session(self.engines(self.peers, self.options, pinholes, 0.0), pinholes, self.engines)
        self.log = pinholes.log

    def say(self, side: Side, *packets: bytes) -> list[str]:
        """What these bring about: what is asked of the pinholes."""
        before = len(self.log)
        self.signalling.receive(side, b"".join(packets))
        return self.log[before:]

    def control(self, number: int = 1) -> Session:
        """Somebody has come to the n-th pinhole that was opened, which is for H.245."""
        grant = self.signalling.pinholes.opened[number - 1]
        assert isinstance(grant, Grant) and grant.expect.reader is not None
        role = grant.expect.reader.role
        assert isinstance(role, Control)
        if grant.id in self.signalling.pinholes.standing:  # else the call is over already
            self.signalling.use(grant.id)
            self.signalling.end(grant.id, 0, 0, "used_up")
        peers = replace(self.peers, role=role)
        pinholes = FakePinholes(self.signalling.pinholes)
        engine = self.engines(peers, self.options, pinholes, self.signalling.now)
        return Session(engine, pinholes, self.engines, now=self.signalling.now, daemon=self.signalling.daemon)

    def sent(self, to: Side) -> bytes:
        return self.signalling.sent(to)

    def notes(self, event: str) -> list[dict[str, Any]]:
        return [note for session in self.signalling.daemon for note in session.notes(event)]

    def rules(self) -> list[str]:
        return [note["rule"] for note in self.notes("violation")]


def mapped(data: bytes, **addresses: str) -> bytes:
    """The message with addresses replaced: `before=after` in pairs."""
    for pair in addresses.values():
        before, after = pair.split(" ")
        assert m.octets(before) in data, f"{before} is not in the message"
        data = data.replace(m.octets(before), m.octets(after))
    return data
