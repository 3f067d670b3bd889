"""No peer fills the audit log, and none hides what others do; what was left out is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocols.contract.effects import Note
from proxy.record import sampling
from proxy.record.audit import Origin, open_log
from proxy.record.catalogue import BUDGETS
from proxy.record.events.budgets import DIALOGUE
from proxy.record.sampling import LeftOut, Sampler

VIOLATIONS = BUDGETS["violation"].lines


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Written:
    """A log whose lines can be read back, and its clock."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.clock = Clock()
        self.sampler = Sampler(self.clock)
        self.suppressed: list[str] = []
        self.sampler.suppressed = self.suppressed.append
        self.log = open_log(Origin("gateway", "1cce2aa5"), self.lines.append, self.sampler)

    def violate(self, client: str = "10.1.0.2:5060", rule: str = "sip.malformed", times: int = 1) -> None:
        log = self.log.bind(session="s", client=client)
        for _ in range(times):
            log.write("violation", rule=rule, detail=b"\x00", action="dropped")

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def test_the_first_violations_of_a_rule_and_source_are_written_and_the_rest_counted() -> None:
    log = Written()
    log.violate(times=1000)
    assert len(log.lines) == VIOLATIONS
    log.clock.now += BUDGETS["violation"].seconds
    log.violate()
    assert len(log.lines) == VIOLATIONS + 1
    assert str(1000 - VIOLATIONS) in log.lines[-1]
    log.violate()
    assert "suppressed" not in log.lines[-1]
    assert log.suppressed == ["violation"] * (1000 - VIOLATIONS)


def test_who_breaks_a_rule_often_hides_neither_other_rules_nor_others() -> None:
    log = Written()
    log.violate(times=1000)
    log.violate(rule="sip.not_sip")
    log.violate("10.1.0.3:5060")
    log.violate("[2001:db8::3]:5060")
    log.violate("10.1.0.2:5070")  # another port is not another host
    assert len(log.lines) == VIOLATIONS + 3
    assert [line["client"] for line in log.read()[-2:]] == ["10.1.0.3:5060", "[2001:db8::3]:5060"]


def test_forged_sources_fill_no_log_either() -> None:
    log = Written()
    for number in range(20_000):
        log.violate(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:5060")
    assert len(log.lines) == BUDGETS["violation"].in_all
    assert len(log.sampler._windows) <= sampling.MOST_SOURCES + 1
    log.clock.now += 1
    log.violate("192.0.2.1:5060", rule="another")
    assert log.read()[-1]["rule"] == "another"


def test_budgets_of_those_who_are_gone_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_SOURCES", 500)
    log = Written()
    for number in range(3 * sampling.MOST_SOURCES):
        log.violate(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:5060", times=VIOLATIONS + 1)
        log.clock.now += 1
    assert len(log.sampler._windows) <= sampling.MOST_SOURCES + 2
    told = sum(left.lines for left in log.sampler.ended(is_last=True))
    told += sum(line.get("suppressed", 0) for line in log.read())
    assert told == len(log.suppressed)


def test_what_was_left_out_is_told_once_when_no_other_line_comes() -> None:
    log = Written()
    began: list[float] = []
    log.sampler.began = lambda: began.append(log.clock.now)
    log.violate(times=VIOLATIONS + 7)
    assert began == [1000.0]
    assert list(log.sampler.ended()) == []  # it may still come to be told by a line
    assert log.sampler.has_some
    log.clock.now += BUDGETS["violation"].seconds
    assert list(log.sampler.ended()) == [LeftOut("violation", "sip.malformed", "10.1.0.2", 7)]
    assert not log.sampler.has_some
    assert list(log.sampler.ended(is_last=True)) == []
    log.violate(times=VIOLATIONS + 1)
    assert len(began) == 2
    assert [left.lines for left in log.sampler.ended(is_last=True)] == [1]


@pytest.mark.parametrize("event", sorted(BUDGETS))
def test_each_kind_of_line_that_can_be_provoked_has_a_bound(event: str) -> None:
    log = Written()
    bound = log.log.bind(client="10.1.0.2:21")
    for number in range(5000):
        bound.write(event, rule="r", reason="r", message=number)
    assert len(log.lines) == BUDGETS[event].lines
    log.clock.now += BUDGETS[event].seconds
    bound.write(event, rule="r", reason="r")
    assert log.read()[-1]["suppressed"] == 5000 - BUDGETS[event].lines


def test_events_of_a_helper_from_elsewhere_have_a_bound_too() -> None:
    log = Written()
    for _ in range(5000):
        log.log.bind(client="10.1.0.2:21").write("toy.opened")
    assert len(log.lines) == DIALOGUE.lines


@pytest.mark.parametrize(
    "event", ["pinhole.opened", "pinhole.used", "pinhole.closed", "session.opened", "session.closed", "call.ended"]
)
def test_what_opens_and_closes_always_has_its_line(event: str) -> None:
    log = Written()
    for _ in range(1000):
        log.log.bind(client="10.1.0.2:21").write(event)
    assert len(log.lines) == 1000


def test_each_violation_counts_though_few_are_written() -> None:
    note = Note("violation", {"rule": "ftp.bounce", "detail": "", "action": ""})
    log = Written()
    log.violate(rule=note.facts["rule"], times=50)
    assert len(log.lines) + len(log.suppressed) == 50
