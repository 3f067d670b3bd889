"""Phones that call each other by way of a registrar, through the gateway in each role: baresip and Kamailio.

A *client* is a phone that reaches the registrar through the gateway, a *neighbour* one beside the registrar. So media
goes between hosts of which neither is the one that signals. The gateway drops all that pinhole does not carry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.namespaces import needs_root
from tools import audio, baresip, gateways
from tools.baresip import Phone, phone
from tools.gateways import BACKENDS, ROLES, Gateway, Role
from tools.kamailio import find, kamailio

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(baresip.is_missing(), reason="not installed (tools/setup --test): baresip-core"),
    pytest.mark.skipif(find() is None, reason="not installed (tools/setup --test): kamailio"),
]

GATEWAYS = [(role, backend) for role in ROLES for backend in BACKENDS]
both_versions = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


class Exchange:
    """A gateway with a registrar behind it, and phones on both sides."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def client(self, user: str, version: int = 4, *, host: int = 0, **options: Any) -> Any:
        return phone(self.gateway.clients[host], user, self.gateway.dialled(version), **options)

    def neighbour(self, user: str, version: int = 4, **options: Any) -> Any:
        return phone(self.gateway.neighbour, user, self.gateway.server.address(version), **options)

    @contextlib.contextmanager
    def log(self, calls: int) -> Iterator[list[dict[str, Any]]]:
        """Filled in at the end, with what was written meanwhile, until so many calls have ended."""
        before, log = len(self.gateway.daemon.audit()), []
        yield log
        log += self.gateway.calls_after(before, calls)
        events = {line["event"] for line in log}
        assert not events & {"violation", "engine.failed", "pinhole.refused", "session.denied", "session.failed"}
        has_nat = self.gateway.role.hides_client or self.gateway.role.hides_server
        assert has_nat or "address.rewritten" not in events


@pytest.fixture(scope="module", params=GATEWAYS, ids=lambda param: f"{param[0].name}-{param[1]}")
def exchange(request: pytest.FixtureRequest) -> Iterator[Exchange]:
    role, backend = request.param
    with gateways.serving(role, backend) as gateway, kamailio(gateway.server):
        yield Exchange(gateway)


def only(*roles: Role) -> pytest.MarkDecorator:
    choices = [(role, "nft") for role in roles]
    return pytest.mark.parametrize(
        "exchange", choices, ids=lambda param: f"{param[0].name}-{param[1]}", indirect=True, scope="module"
    )


every_role = only(*ROLES)


def connect(caller: Phone, callee: Phone) -> None:
    caller.dial(callee.user)
    callee.wait_for("CALL_INCOMING")
    callee.answer()
    for one in (caller, callee):
        one.wait_for("CALL_ESTABLISHED")


def converse(one: Phone, other: Phone) -> None:
    """Each hears what the other says, frame by frame and sample by sample."""
    for listener, speaker in ((one, other), (other, one)):
        heard = listener.hear()
        assert audio.run_of(heard, speaker.sent())
        assert audio.run_of(heard, speaker.played())


def hang_up(one: Phone, other: Phone) -> None:
    one.hang_up()
    other.wait_for("CALL_CLOSED")


@both_versions
def test_phones_call_each_other_in_both_directions(exchange: Exchange, version: int) -> None:
    with (
        exchange.client("alice", version) as alice,
        exchange.neighbour("bob", version) as bob,
        exchange.log(calls=2) as log,
    ):
        for caller, callee in ((alice, bob), (bob, alice)):
            connect(caller, callee)
            converse(caller, callee)
            hang_up(callee, caller)
    ended = [line for line in log if line["event"] == "call.ended"]
    assert [line["reason"] for line in ended] == ["bye_of_callee"] * 2
    for line in ended:
        (stream,) = line["streams"]
        assert min(stream["packets_to_caller"], stream["packets_to_callee"]) >= 20
