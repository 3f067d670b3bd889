"""What a session of DCE-RPC has the right to ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Network, Peers, Side, Transport, only
from protocols.contract.effects import Effect
from protocols.contract.pinholes import AnyGrant, Expect, Grant, Reader, Refusal
from protocols.dcerpc.endpoints import Bound
from tests.harness.strict_pinholes import StrictPinholes


class DcerpcPinholes(StrictPinholes):
    """For the client alone, to a port of the server or of a host that an option names, after both sides have spoken;
    and for the server alone, to a port of the client that an option names."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._spoken: set[Side] = set()
        self._opened: Expect | None = None
        """What was asked for since something arrived."""

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        self._spoken.add(side)

    def judge(self, side: Side, data: bytes, effects: Sequence[Effect]) -> None:
        """Only what a server says opens anything."""
        assert side is Side.SERVER or self._opened is None, self._opened
        self._opened = None

    def open(self, expect: Expect) -> Grant | Refusal:
        self._opened = expect
        if self.is_full:
            return Refusal("limit_per_session")
        peers, options = self.peers, self.options
        assert self._spoken == set(Side), f"nobody has asked, or nobody has answered: {expect}"
        assert peers.role is None, f"a connection that is only checked opens nothing: {expect}"
        if expect.purpose == "rpc-callback":
            self._judge_callback(expect)
        else:
            self._judge_endpoint(expect)
        assert expect.uses is None and expect.renewed_by_use and expect.at_once == options.max_connections, expect
        assert expect.lasts_seconds == expect.open_seconds == options.hold, f"for another time: {expect}"
        own = sum(peers.client.host in _clients_of(each) for each in self.standing.values())
        assert own < options.max_endpoints, f"too many: {expect}"
        return super().open(expect)

    def _judge_endpoint(self, expect: Expect) -> None:
        peers, options, target = self.peers, self.options, expect.target
        others = any(target.host in network for network in options.endpoint_hosts)
        assert target.host == peers.server.host or others, f"a third host: {expect}"
        assert 1024 <= target.port <= 65535 and target != peers.server, expect
        if peers.is_mapped(Side.SERVER):
            assert expect.listen.host == peers.server_as_seen.host, expect
            assert expect.listen.port in (0, target.port), f"a port that was asked for: {expect}"
        else:
            assert expect.listen == target, expect
        assert expect.allow == only(peers.client.host), f"somebody else: {expect}"
        assert expect.source == Endpoint(peers.client_as_seen.host, 0), expect
        is_checked = options.check_bind and expect.transport is Transport.TCP
        assert expect.reader == (Reader("dcerpc", Bound()) if is_checked else None), expect
        assert expect.purpose == "rpc", expect

    def _judge_callback(self, expect: Expect) -> None:
        peers = self.peers
        first, _, last = self.options.callbacks.partition("-")
        assert int(first) <= expect.target.port <= int(last), f"no port that may be called: {expect}"
        assert expect.target.host == peers.client.host and expect.allow == only(peers.server.host), expect
        assert expect.listen == Endpoint(peers.client_as_seen.host, expect.target.port), expect
        assert (expect.transport, expect.reader) == (Transport.TCP, None), expect

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        assert allow == grant.expect.allow, f"others may come: {allow}"
        assert seconds in {options.hold for options in self.options_of_all}, seconds
        super().renew(grant, allow, seconds)


def _clients_of(grant: AnyGrant) -> set[Host]:
    """Whose it may be: who comes, or is called back."""
    return {grant.expect.allow[0].network_address, grant.expect.target.host} if isinstance(grant, Grant) else set()
