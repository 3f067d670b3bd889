"""The files that commands read: one of the test's own, and none of the machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import whereabouts

TABLE = """\
session-helpers:
  - {id: 1, name: ftp, protocol: tcp, port: 21}
  - {id: 5, name: ftp, protocol: tcp, port: [2121, 3000-3001]}
policies: [{name: all, action: accept}]
"""


@pytest.fixture(autouse=True)
def _no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command prints must not depend on how the machine of the tests is configured."""
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", tmp_path / "no-such-file.yaml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pinhole.yaml"
    file.write_text(TABLE)
    return file
