"""What an engine need not say itself."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from protocols import HELPERS
from protocols.contract.addresses import Side, Transport, only
from protocols.contract.effects import Effect, Finish, Send
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import Closed, Expect, Grant, Used
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, endpoint


class PassesOn(Engine):
    """An engine that minds nothing but what is said."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        return (Send(side.other, data),)


def test_an_engine_that_does_not_read_cannot_be_made() -> None:
    class Deaf(Engine):
        pass

    with pytest.raises(TypeError, match="receive"):
        Deaf()  # type: ignore[abstract]  # mypy says it, too


@pytest.mark.parametrize("side", Side)
def test_the_end_of_one_side_is_passed_on_to_the_other(side: Side) -> None:
    assert PassesOn().eof(side, 0.0) == (Finish(side.other),)


def test_an_engine_that_says_nothing_has_no_clock_and_is_not_needed() -> None:
    engine = PassesOn()
    assert engine.deadline() is None
    assert not engine.is_needed()
    assert (engine.tick(0.0), engine.stop(0.0), engine.resolved("name", (), 0.0)) == ((), (), ())


@pytest.mark.parametrize("event", [Used(endpoint("192.0.2.1:1")), Closed("expired", 0, 0, 1.0)])
def test_it_minds_nothing_of_its_pinholes(event: Used | Closed) -> None:
    client, server = endpoint("192.0.2.1:1"), endpoint("192.0.2.2:2")
    grant = Grant(1, Expect(Transport.TCP, "x", "X", server, only(client.host), server, None, 60.0), server)
    assert PassesOn().pinhole(grant, event, 0.0) == ()


@pytest.mark.parametrize("helper", HELPERS.values(), ids=lambda helper: helper.name)
def test_every_engine_has_slots_and_nothing_beside(helper: Helper) -> None:
    """They are asked for their fields many times in each message, and there are thousands of them."""
    engine = helper.start()(NETWORKS["none"], helper.options(), FakePinholes(), 0.0)
    assert isinstance(engine, Engine)
    assert not hasattr(engine, "__dict__")
