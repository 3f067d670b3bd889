"""Refusals and violations of the last hour: equal ones counted together, bounded, and no kind pushed out by another."""

from __future__ import annotations

import pytest

from proxy.record.audit import Origin, open_log
from proxy.record.recent import KEPT_SECONDS, MOST_OF_A_KIND, Recent
from proxy.record.sampling import Sampler


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> Recent:
    return Recent(clock)


def denied(recent: Recent, host: str = "192.0.2.1", reason: str = "no_policy") -> None:
    facts = {"client": f"{host}:1024", "server": "198.51.100.2:21", "reason": reason}
    recent.note("session.denied", facts, "", f"{host}:1024")


def test_equal_ones_are_counted_together(recent: Recent, clock: Clock) -> None:
    denied(recent)
    clock.now += 5
    denied(recent)
    (one,) = recent.all("session.denied")
    assert (one.count, one.first, one.last) == (2, 1000.0, 1005.0)
    assert one.told["server"] == "198.51.100.2:21"


def test_the_newest_comes_first_and_what_is_old_goes(recent: Recent, clock: Clock) -> None:
    denied(recent, "192.0.2.1")
    clock.now += KEPT_SECONDS / 2
    denied(recent, "192.0.2.2")
    assert [one.told["client"] for one in recent.all("session.denied")] == ["192.0.2.2:1024", "192.0.2.1:1024"]
    clock.now += KEPT_SECONDS / 2 + 1
    assert [one.told["client"] for one in recent.all("session.denied")] == ["192.0.2.2:1024"]


def test_a_flood_of_one_kind_pushes_out_none_of_another(recent: Recent) -> None:
    denied(recent, reason="limit_per_client")
    for number in range(3 * MOST_OF_A_KIND):
        denied(recent, f"10.0.{number // 256}.{number % 256}")
    found = [one.told["reason"] for one in recent.all("session.denied")]
    assert found.count("limit_per_client") == 1
    assert found.count("no_policy") == MOST_OF_A_KIND


def test_a_peer_makes_up_no_kinds_by_the_words_of_its_answers(recent: Recent) -> None:
    for number in range(1000):
        facts = {"code": 486, "reason": f"Busy {number}", "call_id": str(number)}
        recent.note("call.failed", facts, "", "192.0.2.1:5060")
    denied(recent)
    assert [one.count for one in recent.all("call.failed")] == [1000]
    assert len(list(recent.all("session.denied"))) == 1


def test_the_log_hands_over_what_it_writes_and_what_it_leaves_out(recent: Recent) -> None:
    lines: list[str] = []
    sampler = Sampler(lambda: 0.0)
    sampler.watch = recent.note
    log = open_log(Origin("gateway", "1cce2aa5"), lines.append, sampler).bind(session="s-1", client="192.0.2.1:1")
    for _ in range(100):
        log.write("violation", rule="ftp.bounce", detail=b"PORT", action="answered 504")
    log.write("pinhole.used", pinhole=1)
    (one,) = recent.all("violation")
    assert one.count == 100
    assert len(lines) < 100
    assert one.told == {
        "session": "s-1",
        "client": "192.0.2.1:1",
        "rule": "ftp.bounce",
        "detail": "PORT",
        "action": "answered 504",
    }
