"""What is under way between whom (protocols/tftp/under_way.py)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint, Side
from protocols.contract.effects import Close
from protocols.tftp import under_way
from protocols.tftp.transfer import Transfer
from protocols.tftp.under_way import Ends, UnderWay
from protocols.tftp.wire import Request

SERVER = Endpoint(ip_address("203.0.113.7"), 69)


def ends(port: int) -> Ends:
    client = Endpoint(ip_address("10.1.0.2"), port)
    return Ends(client, client, SERVER)


def reading(most_bytes: int | None = None) -> Transfer:
    return Transfer(Request(True, b"f", b"octet"), Side.SERVER, most_bytes, 0.0)


def test_what_is_remembered_is_bounded_and_a_later_request_takes_the_place_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_way, "MAX_UNDER_WAY", 1)
    table, first, second = UnderWay(), reading(), reading()
    table.begin(ends(1), first)
    table.begin(ends(2), second)
    assert (len(table), table.get(ends(2))) == (1, None)
    table.begin(ends(1), second)
    assert table.get(ends(1)) is second
    table.forget(ends(1), first)  # it is not the one that stands there now
    assert table.get(ends(1)) is second


def test_a_transfer_that_is_refused_does_not_stand_behind_its_end() -> None:
    table, transfer = UnderWay(), reading(most_bytes=1)
    table.begin(ends(1), transfer)
    effects = table.receive(ends(1), transfer, Side.SERVER, b"\0\3\0\1end", 0.0)
    assert [effect for effect in effects if isinstance(effect, Close)] == [Close("refused")]
    assert (len(table), table.dallying) == (0, 0)


def test_what_waits_behind_a_transfer_is_one_that_nobody_has_answered() -> None:
    table, before, after = UnderWay(), reading(), reading()
    table.begin(ends(1), before)
    assert table.waiting(ends(1), before) is None
    table.begin(ends(1), after)
    assert table.waiting(ends(1), before) is after
    table.receive(ends(1), after, Side.SERVER, b"\0\3\0\1" + bytes(512), 0.0)
    assert table.waiting(ends(1), before) is None
