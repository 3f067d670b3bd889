"""A table of pinholes that fails the test of whoever asks for what its session has no right to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocols.contract.addresses import Host, Peers, Side, Transport
from protocols.contract.effects import Effect
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.sip_sayings import hosts_in

MAX_PINHOLES = 64


class StrictPinholes(FakePinholes):
    """Refuses nothing but what is over the cap, and fails the test for what the session has no right to."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(beside)
        self.peers = peers
        self.sessions: list[Peers] = beside.sessions if beside else []
        """Of this daemon: what one has opened may be changed by what another hears."""
        self.sessions.append(peers)
        self.options = options
        self.options_of_all: list[Any] = beside.options_of_all if beside else []
        """Of the sessions: whom one lets in may come to what another has opened."""
        self.options_of_all.append(options)
        self._named: set[Host] = beside._named if beside else set()
        self._unread: list[bytes] = beside._unread if beside else []
        """What was said to this daemon, and has not been looked through for names yet: mostly nobody asks."""
        self.visited: set[int] = set()
        self._half_said = dict.fromkeys(Side, b"")

    @property
    def is_full(self) -> bool:
        return len(self.standing) >= MAX_PINHOLES

    @property
    def own(self) -> set[Host]:
        return {peers.own(side).host for peers in self.sessions for side in Side}

    @property
    def seen(self) -> set[Host]:
        return {peers.as_seen(side).host for peers in self.sessions for side in Side}

    @property
    def named(self) -> set[Host]:
        """Every address that somebody has said to this daemon."""
        for data in self._unread:
            self._named.update(hosts_in(data))
        self._unread.clear()
        return self._named

    def mapped_to(self, host: Host) -> set[Host]:
        """Who is known by this address."""
        return {peers.own(side).host for peers in self.sessions for side in Side if peers.as_seen(side).host == host}

    def hear(self, side: Side, data: bytes) -> None:
        """Something arrives that may name hosts; on a stream perhaps but the second half of a name."""
        data = self._half_said[side] + data
        self._half_said[side] = data[-50:] if self.peers.transport is Transport.TCP else b""
        self._unread.append(data)

    def judge(self, side: Side, data: bytes, effects: Sequence[Effect]) -> None:
        """What this has brought about, of what was heard of that side last."""

    def judge_end(self, side: Side, effects: Sequence[Effect]) -> None:
        """What the end of that side's stream has brought about."""
