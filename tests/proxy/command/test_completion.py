"""Shells complete commands, options, and the IDs of what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.command.cli import COMMANDS, main
from tests.harness.control_socket import daemon
from tools import manpages

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_reads_what_it_is_told(shell: str) -> None:
    text = CliRunner().invoke(main, ["completion", shell]).stdout
    assert "_PINHOLE_COMPLETE" in text
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=text, text=True, capture_output=True, check=False).stderr == ""


def completed(*words: str) -> list[str]:
    """What bash is told to complete the last word with."""
    environment = {"_PINHOLE_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("pinhole", *words))}
    program = "from proxy.command.cli import main; main(prog_name='pinhole')"
    environment |= {**os.environ, "COMP_CWORD": str(len(words))}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_and_options_are_completed() -> None:
    assert completed("ses") == ["sessions"]
    assert "--older" in completed("sessions", "--o")
    assert completed("completion", "z") == ["zsh"]


def test_ids_are_completed_with_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    with daemon(tmp_path / "c.sock", {"/v1/calls?limit=1000": {"calls": [{"id": "ab1"}, {"id": "cd2"}]}}):
        assert completed("calls", "-c", str(file), "a") == ["ab1"]
    with daemon(tmp_path / "c.sock", {"/v1/pinholes?limit=1000": {"pinholes": [{"id": "ab-p1"}, {"id": "ab-p22"}]}}):
        assert completed("explain", "-c", str(file), "ab-p2") == ["ab-p22"]
    assert completed("calls", "-c", str(file), "a") == []


def test_every_command_is_there_and_says_what_it_does() -> None:
    context = main.make_context("pinhole", [], resilient_parsing=True)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None and command.name == name
        assert command.help


WITHOUT_JSON = {
    "run": "serves",
    "net guard": "serves",
    "fastpath": "serves",
    "completion": "prints what a shell reads",
    "config schema": "prints JSON in any case",
    "audit schema": "prints JSON in any case",
    "import fortios": "prints YAML, which is the point of it",
}


def test_all_that_print_for_people_print_for_programs_as_well() -> None:
    found = {}
    for context in manpages.each_command():
        options = [name for parameter in context.command.params for name in parameter.opts]
        found[context.command_path.removeprefix("pinhole ")] = "--json" in options
    assert {name for name, has_json in found.items() if not has_json} == WITHOUT_JSON.keys()
