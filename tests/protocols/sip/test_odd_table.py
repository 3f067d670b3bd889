"""Every row of the table of odd but real values, through the engine: tests/sip_values/README.md."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from protocols.contract.effects import Send
from protocols.contract.pinholes import MediaGrant
from tests.harness.sip_flow import CLIENT, SERVER, Flow
from tests.harness.sip_odd_values import (
    PHONE,
    PHONE_PORT,
    SERVER_PORT,
    Row,
    Way,
    case,
    is_named,
    is_not_worse,
    outcome,
    rows,
)
from tests.harness.sip_odd_values import SERVER as SERVER_HOST

ROWS = rows()


def through(row: Row, way: Way, **options: Any) -> tuple[str, Flow]:
    said, flow = case(row, way), Flow(way.is_nat, **options)
    side, media = (CLIENT, f"{PHONE}:{PHONE_PORT}") if way.is_out else (SERVER, f"{SERVER_HOST}:{SERVER_PORT}")
    if said.before:
        flow.hear(CLIENT, said.before)
    flow.notes.clear()
    done = flow.hear(side, said.message)
    sent = next((effect.data for effect in done if isinstance(effect, Send) and effect.to is side.other), None)
    places = flow.places.standing.values()
    has_media = any(isinstance(one, MediaGrant) and str(one.media.party.data) == media for one in places)
    return outcome(said, sent, has_media), flow


@pytest.mark.parametrize("way", Way, ids=lambda way: way.value)
@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_row_does_what_the_table_says(row: Row, way: Way) -> None:
    done, flow = through(row, way)
    assert done == row.ours[way], row.name
    if done == "refused":
        assert row.why and [note.facts["rule"] for note in flow.notes] == ["sip.malformed"]
    told = [note.facts for note in flow.notes if note.event == "violation"]
    if done.startswith("mends"):
        assert {(facts["rule"], facts["action"]) for facts in told} == {("sip.malformed", "mended")}
    elif done != "refused":
        assert told == []
    if not way.is_nat:
        assert not done.startswith("maps"), row.name


@pytest.mark.parametrize("way", Way, ids=lambda way: way.value)
@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_no_call_works_by_the_kernels_helper_alone(row: Row, way: Way) -> None:
    assert is_not_worse(row.field, row.kernel[way], row.ours[way]), row.name


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_an_observer_reads_alike_and_changes_nothing(row: Row) -> None:
    for way in Way:
        said, flow = case(row, way), Flow(way.is_nat, mode="observe")
        side = CLIENT if way.is_out else SERVER
        if said.before:
            flow.hear(CLIENT, said.before)
        assert flow.hear(side, said.message) == [Send(side.other, said.message)]
        told = [note.facts["action"] for note in flow.notes if note.event == "violation"]
        assert bool(told) == row.ours[way].startswith(("refused", "mends")), row.name
        assert all(action.startswith("passed; else ") for action in told)


def test_malformed_pass_is_for_what_is_refused_alone() -> None:
    for row in ROWS:
        for way in Way:
            done, _ = through(row, way, malformed="pass")
            assert done.split()[0] == row.ours[way].split()[0].replace("refused", "passes"), row.name


def test_the_table_is_as_large_as_it_should_be() -> None:
    count = Counter(row.field.partition(" ")[0] for row in ROWS)
    assert len(ROWS) >= 150 and len({row.name for row in ROWS}) == len(ROWS)
    fields = ("from", "to", "contact", "via", "record-route", "request-uri", "p-asserted-identity", "diversion", "sdp")
    assert all(count[field] >= 5 for field in fields)
    assert sum(bool(row.why) for row in ROWS) <= 2
    assert all("repos" not in row.source.lower() and row.source for row in ROWS)


def test_what_names_a_mapped_address_does_not_pass_with_it() -> None:
    """But in names of people, and what is part of a name or of nothing that is an address."""
    left = [
        row.name
        for row in ROWS
        if row.field not in ("from", "to", "any", "sdp o")
        and is_named(case(row, Way.SNAT_OUT))
        and row.field != "request-uri"  # whom the phone calls is not mapped
        and row.ours[Way.SNAT_OUT].startswith("passes")
    ]
    assert left == []
