"""Services that directories tell clients of: whose they are, how many there may be, and who looks after them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport, only
from protocols.contract.pinholes import Closed, Expect, Grant, Refusal, Used
from protocols.toolbox.services import TOO_MANY, Opener, Services, key_of
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import endpoint

SERVER = endpoint("203.0.113.7:111")
PEERS = Peers(endpoint("198.51.100.2:888"), endpoint("198.51.100.2:888"), SERVER, SERVER)
NEIGHBOUR = Peers(endpoint("198.51.100.3:888"), endpoint("198.51.100.3:888"), SERVER, SERVER)


class Ways(Opener):
    """Opens services of TCP for as long as is said."""

    def __init__(self, services: Services, peers: Peers = PEERS, beside: Ways | None = None) -> None:
        self.pinholes: FakePinholes = FakePinholes(beside.pinholes if beside else None)
        self.pinholes.report = lambda grant, event: self.heard(grant, event)
        super().__init__(peers.client.host, self.pinholes, services)
        self.peers = peers

    def open(self, port: int, most: int = 2) -> Endpoint | Refusal:
        target = replace(SERVER, port=port)
        source = replace(self.peers.client_as_seen, port=0)
        expect = Expect(
            Transport.TCP, "rpc", "GETPORT", target, only(self.client), target, source, 60.0,
            lasts_seconds=600.0, renewed_by_use=True, uses=None,
        )  # fmt: skip
        return self._begin(key_of(self.peers, Transport.TCP, target), expect, most)

    def grant(self, port: int) -> Grant:
        service = self._services.find(key_of(self.peers, Transport.TCP, replace(SERVER, port=port)))
        assert service is not None
        return service.grant


def test_what_is_open_is_found_by_who_knows_it_so() -> None:
    services = Services()
    ways = Ways(services)
    assert ways.open(2049) == replace(SERVER, port=2049)
    key = key_of(PEERS, Transport.TCP, replace(SERVER, port=2049))
    assert services.find(key) is not None and len(services) == len(ways) == 1
    others = (replace(key, transport=Transport.UDP), key_of(NEIGHBOUR, Transport.TCP, key.target))
    assert [services.find(other) for other in others] == [None, None]


def test_another_session_renews_it_and_the_first_one_looks_after_it() -> None:
    services = Services()
    first = Ways(services)
    second = Ways(services, beside=first)
    first.open(2049)
    found = services.find(key_of(second.peers, Transport.TCP, replace(SERVER, port=2049)))
    assert found is not None
    found.renew(60.0)
    assert first.pinholes.log[-1] == "renew 1 from 198.51.100.2 for 60 s" and second.pinholes.log == []
    second.close()
    assert len(services) == 1
    first.close()
    assert (len(services), len(first), first.pinholes.standing) == (0, 0, {})


@pytest.mark.parametrize("end", ["let_go", "pinhole"])
def test_each_client_has_so_many_and_no_more(end: str) -> None:
    services = Services()
    first = Ways(services)
    second, neighbour = Ways(services, beside=first), Ways(services, NEIGHBOUR, first)
    assert isinstance(first.open(2049), Endpoint) and isinstance(second.open(2050), Endpoint)
    assert second.open(2051) is TOO_MANY and second.pinholes.log[1:] == []
    assert isinstance(neighbour.open(2051), Endpoint)
    if end == "let_go":
        first.let_go(first.grant(2049))
    else:
        first.pinholes.drop(1, "expired")
    assert isinstance(second.open(2051), Endpoint) and second.open(2052) is TOO_MANY


def test_what_is_refused_counts_for_nobody() -> None:
    services = Services()
    ways = Ways(services)
    ways.pinholes.refuse_next = ["no_free_port"]
    assert ways.open(2049, most=1) == Refusal("no_free_port") and len(services) == len(ways) == 0
    assert isinstance(ways.open(2049, most=1), Endpoint)


def test_whether_anybody_has_come_is_known() -> None:
    services = Services()
    ways = Ways(services)
    ways.open(2049)
    service = services.find(key_of(PEERS, Transport.TCP, replace(SERVER, port=2049)))
    assert service is not None and not service.is_used
    ways.heard(service.grant, Used(PEERS.own(Side.CLIENT)))
    assert service.is_used


def test_late_events_of_a_pinhole_mean_nothing() -> None:
    services = Services()
    ways = Ways(services)
    ways.open(2049)
    grant = ways.grant(2049)
    ways.close()
    for event in (Used(PEERS.client), Closed("expired", 0, 0, 1.0)):
        ways.heard(grant, event)
    assert len(services) == 0
