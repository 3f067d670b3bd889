"""`net` and `doctor`: what they would do to the host, what they say of it, and with which exit status they end. Here
something else stands in for the host; `tests/netns` has a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.config.schema import Config
from proxy.doctor import examine
from proxy.doctor.findings import Finding, Level
from proxy.errors import NetError
from proxy.host import link, net
from proxy.host.rules import Backend
from tests.harness.commands import pinhole


@pytest.mark.parametrize(("backend", "word"), [("nft", "table inet pinhole"), ("iptables", "-j TPROXY")])
def test_net_plan_prints_the_rules(file: Path, backend: str, word: str) -> None:
    result = pinhole("net", "plan", "-c", file, "--backend", backend)
    assert result.exit_code == 0
    assert word in result.stdout


def test_net_up_says_each_step(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def up(settings: Config, backend: Backend, say: Any) -> None:
        say(f"{settings.source} by {backend.value}")

    monkeypatch.setattr(net, "up", up)
    result = pinhole("net", "up", "-c", file, "--backend", "iptables")
    assert (result.exit_code, result.stderr) == (0, f"{file} by iptables\n")
    programs = pinhole("net", "up", "-c", file, "--backend", "iptables", "--json")
    assert (json.loads(programs.stdout), programs.stderr) == ({"steps": [f"{file} by iptables"]}, "")


def test_net_plan_for_programs(file: Path) -> None:
    plan = json.loads(pinhole("net", "plan", "-c", file, "--json").stdout)
    assert plan == {"backend": "nft", "script": pinhole("net", "plan", "-c", file, "--backend", "nft").stdout}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Backend | None]]:
    """What the commands would have done to the host, where rules of iptables stand."""
    done: list[tuple[str, Backend | None]] = []
    monkeypatch.setattr(net, "require_admin", lambda: None)
    monkeypatch.setattr(net, "all_standing", lambda: [Backend.IPTABLES])
    monkeypatch.setattr(net, "overtaking", lambda settings: [])
    monkeypatch.setattr(net, "up", lambda settings, backend, say: done.append(("up", backend)))
    monkeypatch.setattr(net, "down", lambda backend, say: done.append(("down", backend)))
    monkeypatch.setattr(net, "clear", lambda say: done.append(("clear", None)))
    monkeypatch.setattr(link, "let_go", lambda say: done.append(("let_go", None)))

    def status(settings: Config, backend: Backend) -> list[net.Status]:
        done.append(("status", backend))
        return []

    monkeypatch.setattr(net, "status", status)
    return done


def test_net_down_does_not_need_a_readable_configuration(done: list[tuple[str, Backend | None]]) -> None:
    assert pinhole("net", "down", "-c", "/no/such/file").exit_code == 0
    assert done == [("let_go", None), ("clear", None)]


def test_without_a_backend_that_one_is_meant_whose_rules_stand(
    file: Path, done: list[tuple[str, Backend | None]]
) -> None:
    """Else a remedy of the doctor's, `pinhole net up`, would set the other one up beside it."""
    for name in ("up", "status"):
        assert pinhole("net", name, "-c", file).exit_code == 0
    assert done == [("up", Backend.IPTABLES), ("status", Backend.IPTABLES)]


def test_the_file_names_the_backend_and_the_option_wins(file: Path, done: list[tuple[str, Backend | None]]) -> None:
    with open(file, "a") as more:
        more.write("\nnetwork: {backend: nft}\n")
    assert pinhole("net", "up", "-c", file).exit_code == 0
    assert pinhole("net", "up", "-c", file, "--backend", "iptables").exit_code == 0
    assert done == [("up", Backend.NFT), ("up", Backend.IPTABLES)]
    assert "table inet pinhole" in pinhole("net", "plan", "-c", file).stdout


def test_rules_of_the_other_backend_are_no_good_status(file: Path, done: list[tuple[str, Backend | None]]) -> None:
    result = pinhole("net", "status", "-c", file, "--backend", "nft")
    assert result.exit_code == 1
    assert "rules by iptables" in result.stdout


def test_net_down_without_a_backend_removes_both(done: list[tuple[str, Backend | None]]) -> None:
    assert pinhole("net", "down").exit_code == 0
    assert pinhole("net", "down", "--backend", "nft").exit_code == 0
    assert done == [("let_go", None), ("clear", None), ("let_go", None), ("down", Backend.NFT)]


def test_net_failure_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def up(*_: object) -> None:
        raise NetError("nft is not installed")

    monkeypatch.setattr(net, "up", up)
    result = pinhole("net", "up")
    assert (result.exit_code, result.stderr) == (1, "pinhole: nft is not installed\n")


@pytest.mark.parametrize(("present", "code"), [(True, 0), (False, 1)])
def test_net_status_is_fine_only_when_all_parts_stand(
    monkeypatch: pytest.MonkeyPatch, present: bool, code: int
) -> None:
    parts = [net.Status("rules", True, "as configured"), net.Status("route", present, "x")]
    monkeypatch.setattr(net, "status", lambda settings, backend: parts[:1])
    monkeypatch.setattr(net, "overtaking", lambda settings: parts[1:])
    monkeypatch.setattr(net, "all_standing", list)
    result = pinhole("net", "status", "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout) == {"up": present, "parts": [part._asdict() for part in parts]}
    assert [line.split()[:2] for line in pinhole("net", "status").stdout.splitlines()] == [
        ["what", "present"],
        ["rules", "yes"],
        ["route", "yes" if present else "no"],
    ]


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_doctor_fails_for_failures_alone(monkeypatch: pytest.MonkeyPatch, level: str, code: int) -> None:
    finding = Finding(Level(level), "masquerade", "wan0 rewrites again", "exclude the mark", "nat.source")
    monkeypatch.setattr(examine, "examine", lambda settings, limits, fastpath: [finding])
    result = pinhole("doctor", "--json")
    assert result.exit_code == code
    found = {
        "level": level,
        "check": "masquerade",
        "detail": "wan0 rewrites again",
        "remedy": "exclude the mark",
        "name": "nat.source",
    }
    assert json.loads(result.stdout) == {"ok": not code, "findings": [found]}
    plain = pinhole("doctor")
    assert plain.exit_code == code
    assert plain.stdout.splitlines()[0] == f"{level:6}masquerade: wan0 rewrites again"
