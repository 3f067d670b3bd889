"""How many offers of media may wait for an answer, and which of them give way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from proxy.pinholes.media import MediaPlace
from proxy.pinholes.media_offers import LEAST_OF_A_CLIENT, OF_A_CLIENT, OF_ALL, Offers
from proxy.sockets.ports import PortPool

PORTS = 6400
CLIENT = "192.0.2.1"
SHARE = PORTS // OF_A_CLIENT


class Place:
    """What `Offers` needs of a `MediaPlace`."""

    def __init__(self, offers: Offers, client: Any = CLIENT, ports: int = 2) -> None:
        self.offers, self.ports, self.shut_by = offers, ports, ""
        self.owner = SimpleNamespace(charged_to=client)
        offers.add(self.itself())

    def itself(self) -> MediaPlace:
        return cast(MediaPlace, self)

    def shut(self, reason: str) -> None:
        self.shut_by = reason
        self.offers.remove(self.itself())


def test_one_client_has_its_share_and_gets_it_back() -> None:
    offers = Offers(PortPool(40000, 40000 + PORTS - 1))
    held = [Place(offers) for _ in range(SHARE // 2)]
    assert not offers.make_room(CLIENT)
    assert offers.make_room("192.0.2.2")
    offers.remove(held[0].itself())
    offers.remove(held[0].itself())
    assert offers.make_room(CLIENT)


def test_however_few_ports_there_are_a_client_can_call() -> None:
    offers = Offers(PortPool(40000, 40099))
    for _ in range(LEAST_OF_A_CLIENT // 2 - 1):
        Place(offers)
    assert offers.make_room(CLIENT)


def test_places_without_ports_of_ours_do_not_count() -> None:
    offers = Offers(PortPool(40000, 40000 + PORTS - 1))
    for _ in range(SHARE):
        Place(offers, ports=0)
    assert offers.make_room(CLIENT)


def test_when_all_are_too_many_the_oldest_of_who_has_most_gives_way() -> None:
    offers = Offers(PortPool(40000, 40000 + PORTS - 1))
    phone = Place(offers, "10.1.0.2")
    crowd = [Place(offers, f"192.0.2.{number}", SHARE // 2) for number in range(1, 17) for _ in range(2)]
    assert sum(place.ports for place in (phone, *crowd)) > PORTS // OF_ALL
    assert offers.make_room("10.1.0.3")
    assert [place.shut_by for place in crowd].count("gave_way") == 1
    assert crowd[0].shut_by == "gave_way"
    assert phone.shut_by == ""
