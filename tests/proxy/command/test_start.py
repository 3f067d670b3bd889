"""The command starts at once, since people run it in loops. How long it takes is measured by `python -m tools.bench
start`; here stands what would make it long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import reading, whereabouts
from tests.harness.control_socket import daemon

ROOT = Path(__file__).parents[3]
HEAVY = {"aiohttp", "asyncio", "pydantic", "pyparsing", "rich", "structlog", "yaml", "protocols"}
"""Each of these takes longer to import than all that the command needs to ask the daemon."""


def imported_by(*arguments: object) -> set[str]:
    """The modules that a command has loaded by its end."""
    words = [str(argument) for argument in arguments]
    program = f"""
import sys
from proxy.command.cli import main
try:
    main({words!r})
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", ["status", "sessions", "calls"])
def test_who_asks_the_daemon_loads_neither_schema_nor_event_loop(tmp_path: Path, command: str) -> None:
    control, file = tmp_path / "c.sock", tmp_path / "pinhole.yaml"
    file.write_text(f"policies: [{{name: all, action: accept}}]\ncontrol: {control}\n")
    with daemon(control, {"/status": {}, f"/v1/{command}": {}}):
        loaded = imported_by(command, "-c", file)
    assert loaded & HEAVY == set()
    assert "proxy.config.reading" not in loaded


def test_the_version_is_told_without_them() -> None:
    assert imported_by("--version") & HEAVY == set()


# -- where the control socket is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("policies: []\n", whereabouts.CONTROL),
        ("# control: /not/this\npolicies: []\n", whereabouts.CONTROL),
        ("control: /run/x.sock\n", "/run/x.sock"),
        ("policies: []\ncontrol:   /run/x.sock  # ours\r\n", "/run/x.sock"),
        ('control: "/run/x.sock"\n', None),
        ("control: ${RUN}/x.sock\n", None),
        ("{control: /run/x.sock}\n", None),
        ("control: /run/x.sock\ncontrol: /run/y.sock\n", None),
        (f"control: /{'x' * 107}\n", None),
    ],
)
def test_a_glance_at_the_file_says_where_the_socket_is_or_that_it_does_not_know(
    tmp_path: Path, text: str, found: str | None
) -> None:
    file = tmp_path / "pinhole.yaml"
    file.write_text(text)
    assert whereabouts.likely_control(str(file)) == found


def test_the_shipped_examples_need_no_more_than_that_glance() -> None:
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        assert whereabouts.likely_control(str(file)) == reading.control_in_force(str(file)).path


def test_of_a_file_that_cannot_be_read_nothing_is_known(tmp_path: Path) -> None:
    assert whereabouts.likely_control(str(tmp_path / "none.yaml")) is None
