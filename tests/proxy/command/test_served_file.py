"""The file of the daemon that runs, by which commands look where none is named: the same one in any directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from proxy.command import client
from proxy.config import whereabouts
from proxy.daemon import starting
from proxy.errors import ConfigError
from proxy.host.rules import Backend


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a file of the usual name. The system has none."""
    (tmp_path / "pinhole.yaml").write_text("nonsense: 1")
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", tmp_path / "none.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_served_by_a_name_that_holds_in_any_directory(here: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{here}/pinhole.yaml")):
        starting.run("pinhole.yaml", False, Backend.NFT)


def test_a_name_that_holds_in_the_directory_of_the_daemon_alone_is_not_read_elsewhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {"config": "pinhole.yaml"}
    monkeypatch.setattr(client, "ask", lambda *_: served)
    assert client.looked_at(None) is None
    served["config"] = str(here / "pinhole.yaml")
    assert client.looked_at(None) == served["config"]
