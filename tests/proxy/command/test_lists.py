"""What the commands that list ask the daemon for, and what becomes of its refusals."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.command import client
from proxy.command.cli import main
from tests.harness.control_socket import daemon

ROOT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    return file


def asked(file: Path, words: list[str], answers: Mapping[str, Any]) -> tuple[list[str], Result]:
    """The requests that a command makes, and its result."""
    with daemon(file.parent / "c.sock", answers) as requests:
        result = CliRunner().invoke(main, [*words, "-c", str(file)])
    return requests, result


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["sessions", "--helper", "sip", "--older", "3m"], "/v1/sessions?helper=sip&older=3m"),
        (["sessions", "--client", "192.168.1.0/24"], "/v1/sessions?client=192.168.1.0%2F24"),
        (["calls", "--policy", "!lan", "--state", "ringing"], "/v1/calls?policy=%21lan&state=ringing"),
        (["pinholes", "--server", "[2001:db8::1]:21"], "/v1/pinholes?server=%5B2001%3Adb8%3A%3A1%5D%3A21"),
        (["pinholes", "--address", "203.0.113.7", "--younger", "90"], "/v1/pinholes?address=203.0.113.7&younger=90"),
        (["registrations", "--text", "alice", "--older", "1d"], "/v1/registrations?older=1d&text=alice"),
        (["calls", "--limit", "3"], "/v1/calls?limit=3"),
    ],
)
def test_filters_are_asked_of_the_daemon(file: Path, words: list[str], target: str) -> None:
    requests, result = asked(file, words, {target: {words[0]: []}})
    assert (requests, result.stdout) == ([f"GET {target}"], f"no {words[0]}\n")


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["sessions", "ab-1"], "/v1/sessions/ab-1"),
        (["pinholes", "7"], "/v1/pinholes/7"),
        (["calls", "a/b?c@example.com"], "/v1/calls/a/b%3Fc%40example.com"),
    ],
)
def test_with_an_id_one_is_shown(file: Path, words: list[str], target: str) -> None:
    requests, result = asked(file, words, {target: {"id": words[1], "state": "serving"}})
    assert requests == [f"GET {target}"]
    assert result.stdout.splitlines()[:2] == [f"id     {words[1]}", "state  serving"]


def test_an_id_and_filters_exclude_each_other(file: Path) -> None:
    assert asked(file, ["sessions", "ab-1", "--helper", "sip"], {})[1].exit_code == 2


def test_what_the_daemon_refuses_is_said_in_its_own_words(file: Path) -> None:
    error = {"error": {"code": "no_such_session", "message": "there is no session x", "remedy": "look into the log"}}
    result = asked(file, ["sessions", "x"], {"/v1/sessions/x": (404, error)})[1]
    assert (result.exit_code, result.stderr) == (1, "pinhole: there is no session x: look into the log\n")


@pytest.mark.parametrize(("words", "seconds"), [(["sessions"], 0), (["reload"], 1)])
def test_a_daemon_that_is_silent_is_waited_for_longer_when_it_has_work_to_do(
    file: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], seconds: int
) -> None:
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(client, "CHANGE_SECONDS", 1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(file.parent / "c.sock"))
        silent.listen()
        result = CliRunner().invoke(main, [*words, "-c", str(file)])
    assert f"did not answer within {seconds} s" in result.stderr


def test_who_waits_behind_many_others_does_not_hear_that_no_daemon_is_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as silent, contextlib.ExitStack() as others:
        silent.bind(str(file.parent / "c.sock"))
        silent.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                other = others.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                other.connect(str(file.parent / "c.sock"))
        result = CliRunner().invoke(main, ["sessions", "-c", str(file)])
    assert "did not answer within" in result.stderr


def test_a_remedy_names_the_command_and_not_the_path(file: Path) -> None:
    error = {"code": "no_such_session", "message": "there is no session x", "remedy": "GET /v1/sessions lists them"}
    result = asked(file, ["sessions", "x"], {"/v1/sessions/x": (404, {"error": error})})[1]
    assert result.stderr == "pinhole: there is no session x: `pinhole sessions` lists them\n"


def test_of_an_older_daemon_it_is_said_that_it_may_be_one(file: Path) -> None:
    result = asked(file, ["calls"], {})[1]
    assert result.exit_code == 1
    assert result.stderr.endswith("answered 404 to GET /v1/calls: is it an older one?\n")


def test_watch_shows_it_again_and_again_until_interrupted(file: Path) -> None:
    words = [sys.executable, "-m", "proxy", "sessions", "--watch", "0.1", "--json", "-c", str(file)]
    served = daemon(file.parent / "c.sock", {"/v1/sessions": {"sessions": []}})
    with served, subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == 0
    assert [json.loads("".join(lines[:3])), lines[3]] == [{"sessions": []}, "\n"]
    assert json.loads("".join(lines[4:])) == {"sessions": []}
