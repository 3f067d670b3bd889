"""Calls to an endpoint that has registered: who calls is outside, though it is the client of the connection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.contract.addresses import Side
from protocols.contract.pinholes import MediaGrant
from protocols.h323.session import Called
from tests.harness.playbook import Session
from tests.protocols.h323 import messages as m
from tests.protocols.h323.calls import Calls

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def calls_in(network: str, role: object) -> Calls:
    """The engine of a connection in this role."""
    calls = Calls(network)
    pinholes = calls.signalling.pinholes
    engine = calls.engines(replace(calls.peers, role=role), calls.options, pinholes, 0.0)
    calls.signalling = Session(engine, pinholes, calls.engines)
    return calls


@pytest.mark.parametrize("network", ["none", "dnat"])
def test_who_calls_by_way_of_a_gatekeeper_has_media_at_another_host_than_that(network: str) -> None:
    """HF42, HF43: nobody inside may do so, and no client whom a policy lets in."""
    calls = calls_in(network, Called())
    third = m.open_channel(1, control="198.51.100.50:5001")
    assert any("offer rtp for 198.51.100.50:5000" in line for line in calls.say(CLIENT, m.setup(control=[third])))
    (grant,) = calls.signalling.pinholes.opened
    assert isinstance(grant, MediaGrant) and grant.media.party.side is SERVER
    beside = f"{calls.peers.own(SERVER).host + 1}:6001"
    assert not calls.say(SERVER, m.answer("connect", control=[m.open_channel(1, control=beside)]))
    assert calls.rules() == ["h323.elsewhere"]
    let_in = calls_in(network, None)
    assert not let_in.say(CLIENT, m.setup(control=[third]))
    assert let_in.rules() == ["h323.elsewhere"]
