"""Copies of packets for those who trace a session: whole ones, of both sides, and no half of a password."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Copy, Effect, Send
from protocols.tns.engine import HELPER, TnsEngine
from protocols.tns.options import TnsOptions
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS
from tools.peers.tns_packets import accept, connect, data

CLIENT, SERVER = Side.CLIENT, Side.SERVER
LONG = b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=svc)(PASSWORD=tiger)%s))" % (b"(X=%s)" % (b"y" * 250))


def engine(is_copied: bool = True) -> TnsEngine:
    made = TnsEngine(NETWORKS["none"], TnsOptions(), FakePinholes(), 0.0)
    made.copy(is_copied)
    return made


def copies(effects: object) -> list[Copy]:
    assert isinstance(effects, list)
    return [one for one in effects if isinstance(one, Copy)]


def test_nobody_gets_copies_who_has_not_asked() -> None:
    assert copies(engine(is_copied=False).receive(CLIENT, connect(), 0.0)) == []


def test_a_packet_is_copied_as_it_came_and_as_it_goes_on() -> None:
    made = engine()
    effects = made.receive(CLIENT, connect(), 0.0)
    came, went = copies(effects)
    (send,) = [one for one in effects if isinstance(one, Send)]
    assert (came, went) == (Copy(CLIENT, True, connect(), b""), Copy(SERVER, False, send.data, b""))
    assert send.data != connect()  # the client is told that there is no urgent data
    assert [copy.has_come for copy in copies(made.receive(SERVER, accept(), 0.0))] == [True, False]


def shown(effects: object) -> bytes:
    assert HELPER.secret is not None
    return b"".join(HELPER.secret.sub(rb"\1 (removed)", copy.data) for copy in copies(effects))


@pytest.mark.parametrize("text", [LONG, b"(DESCRIPTION=(CONNECT_DATA=(SID=x)(Password = tiger)))"])
def test_a_password_is_removed(text: bytes) -> None:
    said = shown(engine().receive(CLIENT, connect(text), 0.0))
    assert b"tiger" not in said and b"(removed)" in said


def test_connect_data_in_parts_is_not_shown_for_half_of_a_password_may_stand_in_each() -> None:
    made, whole = engine(), connect(LONG)
    at = LONG.index(b"tig") + 3
    head = whole[: len(whole) - len(data(LONG))]
    effects: list[Effect] = []
    for part in (head, data(LONG[:at]), data(LONG[at:])):
        effects += made.receive(CLIENT, part, 0.0)
    assert b"tig" not in shown(effects) and b"er)" not in shown(effects)
    assert b"".join(one.data for one in effects if isinstance(one, Send)).endswith(LONG[at:])
