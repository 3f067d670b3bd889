"""What `pinhole explain` asks, and how it prints the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.command.cli import main
from proxy.command.explain import report
from tests.harness.control_socket import daemon

REFUSED: dict[str, Any] = {
    "verdict": "refused",
    "says": ["no policy matches 10.9.9.9:4000 to 203.0.113.50:21 by lan0"],
    "since": "2026-11-29T20:15:00Z",
    "until": "2026-11-29T20:20:00Z",
    "remedy": "add a policy to `policies`",
    "line": "- {name: for-10.9.9.9, from: lan0, source: 10.9.9.9, destination: 203.0.113.50, action: accept}",
    "count": 3,
    "source": "memory",
}
OPEN: dict[str, Any] = {
    "verdict": "open",
    "says": ["pinhole 7 is open", "it admits 203.0.113.50/32; nobody has come"],
    "since": "2026-11-29T20:15:00Z",
    "until": None,
    "remedy": None,
    "line": None,
    "count": 1,
    "source": "live",
}


def explain(tmp_path: Path, target: str, answers: list[dict[str, Any]], *words: str) -> Result:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    with daemon(tmp_path / "c.sock", {target: {"answers": answers}}):
        return CliRunner(env={"COLUMNS": "80"}).invoke(main, ["explain", *words, "-c", str(file)])


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["7"], "/v1/explain?pinhole=7"),
        (["203.0.113.7:40000"], "/v1/explain?address=203.0.113.7%3A40000"),
        (["[2001:db8::1]:40000"], "/v1/explain?address=%5B2001%3Adb8%3A%3A1%5D%3A40000"),
        (["7", "--at", "2026-11-29T20:15:00Z"], "/v1/explain?pinhole=7&at=2026-11-29T20%3A15%3A00Z"),
        (
            ["203.0.113.50:21", "--client", "10.9.9.9:4000", "--transport", "tcp"],
            "/v1/explain?address=203.0.113.50%3A21&client=10.9.9.9%3A4000&transport=tcp",
        ),
    ],
)
def test_a_pinhole_or_an_address_is_asked_for(tmp_path: Path, words: list[str], target: str) -> None:
    result = explain(tmp_path, target, [OPEN], *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(explain(tmp_path, target, [OPEN], *words, "--json").stdout) == {"answers": [OPEN]}


@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::1", "[2001:db8::1]", "fe80::1%lan0"])
def test_an_address_without_a_port_says_what_lists_all_of_it(tmp_path: Path, host: str) -> None:
    result = explain(tmp_path, "/v1/explain", [], host)
    assert result.exit_code == 1
    assert f"`pinhole refusals --address {host.strip('[]')}`" in result.stderr


def test_what_was_refused_comes_with_the_line_that_would_let_it_in_whole(tmp_path: Path) -> None:
    text = explain(tmp_path, "/v1/explain?pinhole=7", [OPEN, REFUSED], "7").stdout
    assert text.splitlines() == [
        "open since 2026-11-29T20:15:00Z (from: live)",
        "  - pinhole 7 is open.",
        "  - it admits 203.0.113.50/32; nobody has come.",
        "",
        "refused 2026-11-29T20:15:00Z to 2026-11-29T20:20:00Z, 3 times (from: memory)",
        "  - no policy matches 10.9.9.9:4000 to 203.0.113.50:21 by lan0.",
        "  What helps: add a policy to `policies`.",
        "  The line of configuration:",
        f"      {REFUSED['line']}",
    ]


def test_sentences_are_wrapped_to_the_width() -> None:
    lines = [text for text, _ in report(OPEN | {"says": ["a word " * 20]}, 40)]
    assert all(len(text) <= 40 for text in lines)
    assert [text[:4] for text in lines[2:4]] == ["  - ", "    "]


def test_the_status_is_1_when_nothing_is_known_of_it(tmp_path: Path) -> None:
    nothing = OPEN | {"verdict": "nothing"}
    assert explain(tmp_path, "/v1/explain?pinhole=7", [nothing], "7").exit_code == 1


def test_only_what_was_refused_has_a_colour() -> None:
    assert [colour for _, colour in report(REFUSED, 80)] == ["red", None, None, None, None]
    assert {colour for _, colour in report(OPEN, 80)} == {None}
