"""By which interfaces a host may come, as policy and routes have it."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from protocols.contract.addresses import Side
from proxy.pinholes.borders import Borders
from proxy.sockets.routes import Way

LAN, LAN_OF_OTHERS, WAN, OTHER_WAN, GONE = 1, 2, 3, 4, 5
NAMES = {LAN: "lan0", LAN_OF_OTHERS: "lan1", WAN: "wan0", OTHER_WAN: "wan1"}
PHONE, SERVER = ip_address("10.1.0.2"), ip_address("2001:db8::2")


@pytest.fixture
def borders(monkeypatch: pytest.MonkeyPatch) -> Borders:
    def name(index: int) -> str:
        if index not in NAMES:
            raise OSError(6, "ENXIO")
        return NAMES[index]

    monkeypatch.setattr(socket, "if_indextoname", name)
    return Borders(lambda: 0.0, lambda host: Way(LAN if host == PHONE else WAN))


def owner(*interfaces: str, came_by: str = "lan0") -> Any:
    policy, decided_by = SimpleNamespace(interfaces=interfaces), SimpleNamespace(interface=came_by)
    return SimpleNamespace(policy=policy, decided_by=decided_by)


def leading(borders: Borders, host: Any, of: Any, side: Side) -> list[int]:
    return [index for index in (*NAMES, GONE) if borders.leads_to(host, index, of, side)]


def test_a_server_comes_by_every_interface_but_those_of_the_clients(borders: Borders) -> None:
    every_but_lan0 = [LAN_OF_OTHERS, WAN, OTHER_WAN, GONE]
    assert leading(borders, SERVER, owner("lan0"), Side.SERVER) == every_but_lan0
    assert leading(borders, SERVER, owner(), Side.SERVER) == every_but_lan0
    assert leading(borders, SERVER, owner("lan0", "lan1"), Side.SERVER) == [WAN, OTHER_WAN, GONE]


def test_a_client_comes_by_the_interfaces_that_its_policy_names(borders: Borders) -> None:
    assert leading(borders, PHONE, owner("lan0"), Side.CLIENT) == [LAN]
    assert leading(borders, PHONE, owner("lan0", "lan1"), Side.CLIENT) == [LAN, LAN_OF_OTHERS]


def test_a_policy_that_names_no_interface_has_its_clients_at_each(borders: Borders) -> None:
    assert leading(borders, PHONE, owner(), Side.CLIENT) == [*NAMES, GONE]


@pytest.mark.parametrize("side", Side)
def test_the_way_to_a_host_is_always_one_that_it_may_come_by(borders: Borders, side: Side) -> None:
    assert borders.leads_to(SERVER, WAN, owner("wan0", came_by="wan0"), side)
    assert borders.leads_to(PHONE, LAN, owner("wan0", came_by="wan0"), side)


@pytest.mark.parametrize("side", Side)
def test_where_nobody_knows_the_interface_all_may_come(borders: Borders, side: Side) -> None:
    assert borders.leads_to(PHONE, 0, owner("lan1"), side)


def test_a_host_is_reached_by_an_interface_with_a_name(borders: Borders) -> None:
    assert (borders.interface_to(PHONE), borders.interface_to(SERVER)) == ("lan0", "wan0")


def test_the_route_is_not_asked_for_where_the_policy_says_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_indextoname", NAMES.__getitem__)

    def ask(_: object) -> Way:
        raise AssertionError

    borders = Borders(lambda: 0.0, ask)
    assert borders.leads_to(PHONE, LAN, owner("lan0"), Side.CLIENT)
    assert borders.leads_to(SERVER, WAN, owner("lan0"), Side.SERVER)
