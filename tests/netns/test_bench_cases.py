"""The cases of `python -m tools.bench helpers` do what they say, with nothing but a network between their ends; and
what is measured of them is judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from protocols import HELPERS
from protocols.contract.effects import Send
from tests.netns.namespaces import needs_root
from tools.bench import case_tftp, helpers, messages, streams, tunnels
from tools.bench.cases import CASES
from tools.bench.helpers import CROWDED, KERNEL, PINHOLE, PLAIN, Effort, Figures, Found, Report
from tools.bench.rounds import Packets
from tools.bench.ways import give_order, start_program
from tools.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("routed") as made:
        yield made


@pytest.mark.netns
@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("helper", CASES)
def test_a_case_has_sessions_and_others_that_stay_open(lab: Lab, helper: str) -> None:
    server = str(lab.server.v4)
    serving = start_program(lab.server, "tools.bench.case_ends", "serve", helper, server)
    dialler = start_program(lab.client, "tools.bench.case_ends", "dial", helper, server)
    try:
        give_order(dialler, "hold", count=1)
        assert len(give_order(dialler, "sessions", count=2)["seconds"]) == 2
    finally:
        lab.client.end(dialler, 0)
        lab.server.end(serving, 0)


@pytest.mark.netns
@pytest.mark.slow
@needs_root
def test_packets_of_a_tunnel_are_measured_both_ways() -> None:
    report = tunnels.run(Packets(rounds=2, packets=100), lambda text: None)
    assert [row[1] for row in tunnels.rows(report)] == [str(size) for size in tunnels.SIZES] * 2
    assert all(0 < seconds < 0.01 for sizes in report.cpu.values() for cpu in sizes.values() for seconds in cpu)


@pytest.mark.netns
@pytest.mark.slow
@needs_root
def test_streams_of_two_helpers_are_measured_by_both_paths() -> None:
    report = streams.run(Packets(rounds=2, packets=200), lambda text: None)
    pairs = [(path, helper) for path, helper, _ in streams.rows(report)]
    assert pairs == list(product(streams.PATHS, (streams.SIP, streams.RTSP)))
    assert all(0 < seconds < 0.01 for helpers in report.cpu.values() for cpu in helpers.values() for seconds in cpu)


def test_messages_of_h323_are_measured_as_they_pass() -> None:
    """Each goes on, and with NAT some are others: what is refused would cost less."""
    report = messages.run(messages.Effort(rounds=2, calls=2), lambda text: None)
    assert [(name, bar.limit) for bar in report.bars for name in [bar.name.rpartition(", ")[0]]] == [
        (f"{kind}, {nat}", limit)
        for (kind, limit), nat in product(
            (("a message of H.245", "at most 15"), ("a Setup with fast start", "at most 150")), messages.NATS.values()
        )
    ]
    assert all(0 < seconds < 0.01 for nats in report.seconds.values() for each in nats.values() for seconds in each)
    for kind, (begin, _) in messages.KINDS.items():
        for nat in messages.NATS:
            passed = [
                (packet, [effect.data for effect in engine.receive(side, packet, 0.0) if isinstance(effect, Send)])
                for engine, said in begin(nat)
                for side, packet in said
            ]
            assert len(passed) == (22 if begin is messages.h245 else 1)
            assert all(len(sent) == 1 for _, sent in passed)
            assert all(sent == [packet] for packet, sent in passed) is (nat == "none"), kind


def test_a_bar_of_messages_is_missed_by_the_fastest_round_alone() -> None:
    seconds = {
        kind: {"no NAT": [2 * most, most], "source NAT": [1.1 * most, 1.2 * most]}
        for kind, (_, most) in messages.KINDS.items()
    }
    assert [bar.is_met for bar in messages.bars(seconds)] == [True, False] * 2


def test_every_helper_has_a_case_that_comes_to_a_port_of_its_own() -> None:
    assert set(CASES) == set(HELPERS)
    for name, case in CASES.items():
        assert (case.transport, case.port) in {(of.value, port) for of, port in HELPERS[name].ports}


def found(plain: float, pinhole: float, cpu: float, crowded: float) -> Found:
    figures = {PLAIN: Figures([plain]), PINHOLE: Figures([pinhole], [cpu]), CROWDED: Figures([pinhole], [crowded])}
    return Found("a session", figures, bytes_each=2048)


def test_a_bar_is_missed_by_what_is_above_it() -> None:
    case = replace(case_tftp.CASE, most_of_plain=1.5, most_cpu=0.010)
    met = helpers.bars(case, found(0.010, 0.015, 0.010, 0.011))
    assert [bar.is_met for bar in met] == [True, True, True]
    missed = helpers.bars(case, found(0.010, 0.016, 0.011, 0.013))
    assert [bar.is_met for bar in missed] == [False, False, False]


def test_a_row_has_an_empty_place_where_the_kernel_has_no_helper() -> None:
    one = found(0.010, 0.015, 0.010, 0.011)
    report = Report("a machine", Effort(1, 1, 1), {"tns": one}, [])
    (row,) = helpers.rows(report)
    assert row == ("tns: a session", "10.00 (1.00)", "", "15.00 (1.50)", "10.00", "11.00", "2.0")
    one.figures[KERNEL] = Figures([0.020])
    assert next(iter(helpers.rows(report)))[2] == "20.00 (2.00)"
