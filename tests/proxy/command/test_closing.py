"""What `pinhole close` asks for, and what it says was ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.command.cli import main
from tests.harness.control_socket import daemon


def close(tmp_path: Path, answers: dict[str, Any], *words: str) -> tuple[list[str], Result]:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    with daemon(tmp_path / "c.sock", answers) as asked:
        result = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["close", *words, "-c", str(file)])
    return asked, result


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["ab-1"], "/v1/close?id=ab-1"),
        (["7", "--of", "pinholes"], "/v1/close?id=7&of=pinholes"),
        (["--client", "10.0.0.5", "--older", "1h"], "/v1/close?client=10.0.0.5&older=1h"),
        (["--of", "calls", "--policy", "!lan"], "/v1/close?of=calls&policy=%21lan"),
    ],
)
def test_an_id_or_filters_say_what_is_to_end(tmp_path: Path, words: list[str], target: str) -> None:
    answer = {"closed": ["ab-1", "ab-2"], "of": "sessions"}
    asked, result = close(tmp_path, {target: answer}, *words)
    assert (asked, result.exit_code) == ([f"POST {target}"], 0)
    assert result.stdout == "closed 2 sessions: ab-1, ab-2\n"
    assert json.loads(close(tmp_path, {target: answer}, *words, "--json")[1].stdout) == answer


def test_to_end_everything_is_not_a_word_less(tmp_path: Path) -> None:
    asked, result = close(tmp_path, {})
    assert (asked, result.exit_code) == ([], 2)


def test_the_status_is_1_when_there_was_nothing_to_end(tmp_path: Path) -> None:
    nothing = {"/v1/close?client=10.0.0.5": {"closed": [], "of": "sessions"}}
    result = close(tmp_path, nothing, "--client", "10.0.0.5")[1]
    assert (result.exit_code, result.stdout) == (1, "nothing to close\n")
