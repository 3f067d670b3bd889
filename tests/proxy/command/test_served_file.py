"""The file of the daemon that runs, by which commands look where none is named: the same one in any directory."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.command import client
from proxy.config import whereabouts
from proxy.config.schema import Config
from proxy.daemon import starting
from proxy.doctor import examine
from proxy.doctor.findings import Finding, Level
from proxy.errors import ConfigError
from proxy.host import net
from proxy.host.rules import Backend
from tests.harness.commands import pinhole
from tests.harness.control_socket import daemon


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a file of the usual name. The system has none."""
    (tmp_path / "pinhole.yaml").write_text("nonsense: 1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_served_by_a_name_that_holds_in_any_directory(here: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{here}/pinhole.yaml")):
        starting.run("pinhole.yaml", False, Backend.NFT)


@pytest.fixture
def behind_a_link(here: Path) -> str:
    """A name whose way leads through a symbolic link and up again. Without `link/..` it is that of the usual file."""
    (here / "site" / "folder").mkdir(parents=True)
    (here / "link").symlink_to("site/folder")
    (here / "site" / "pinhole.yaml").write_text("other nonsense: 1")
    return "link/../pinhole.yaml"


def test_a_way_through_a_link_and_up_again_is_followed_as_the_system_does(here: Path, behind_a_link: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{here}/link/../pinhole.yaml:1:1: other nonsense")):
        starting.run(behind_a_link, False, Backend.NFT)


def test_so_it_is_in_advice(here: Path, behind_a_link: str) -> None:
    assert whereabouts.told(behind_a_link, "`pinhole net up`") == f"`pinhole net up -c {here}/link/../pinhole.yaml`"


@pytest.mark.parametrize("name", ["pinhole.yaml", "./pinhole.yaml"])
def test_advice_does_not_name_the_file_of_the_system_however_it_was_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", here / "pinhole.yaml")
    for file in (name, str(here / name)):
        assert whereabouts.told(file, "`pinhole net up`") == "`pinhole net up`"


@pytest.mark.parametrize("command", ["net up", "net guard", "net status", "fastpath", "run", "reload", "doctor"])
def test_advice_names_the_file_for_every_command_that_does_otherwise_by_another(here: Path, command: str) -> None:
    advice = f"no `pinhole {command}` runs here"
    assert whereabouts.told("/srv/x.yaml", advice) == f"no `pinhole {command} -c /srv/x.yaml` runs here"


def test_a_name_that_holds_in_the_directory_of_the_daemon_alone_is_not_read_elsewhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {"config": "pinhole.yaml"}
    monkeypatch.setattr(client, "ask", lambda *_: served)
    assert client.looked_at(None) is None
    served["config"] = str(here / "pinhole.yaml")
    assert client.looked_at(None) == served["config"]


@pytest.mark.parametrize("named", [False, True])
def test_doctor_looks_by_the_file_of_the_daemon_that_runs_where_there_is_no_other_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """By the built-in configuration its rules would be another's, and the remedy would set up those of that one."""
    monkeypatch.setattr(whereabouts, "CONTROL", str(tmp_path / "control.sock"))
    finding = Finding(Level.FAIL, "rules", "nothing is set up", "pinhole net up --backend nft", "rules.none")
    seen: list[str] = []

    def look(settings: Config, *_: object) -> list[Finding]:
        seen.append(settings.source)
        return [finding]

    monkeypatch.setattr(examine, "examine", look)
    monkeypatch.setattr(net, "all_standing", list)
    monkeypatch.setattr(net, "status", lambda settings, backend: look(settings)[1:])
    monkeypatch.setattr(net, "overtaking", lambda settings: [])
    with daemon(tmp_path / "control.sock", {"/v1/status": {"config": str(file)}}):
        result = pinhole("doctor", "--json", *(["-c", file] if named else []))
        pinhole("net", "status", *(["-c", file] if named else []))
    assert json.loads(result.stdout)["findings"][0]["remedy"] == f"pinhole net up -c {file} --backend nft"
    assert seen == [str(file)] * 2
    seen.clear()
    assert "pinhole net up --backend nft" in pinhole("doctor").stdout
    assert seen == ["built-in default"]


def test_all_advice_names_the_file_that_is_looked_at_from_wherever_it_was_named(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pinhole net up` alone would set up the rules of the system's file, or the built-in ones."""
    finding = Finding(Level.WARN, "rules", "`pinhole net up` replaces it", "sudo pinhole doctor", "rules.none")
    part = net.Status("rules", False, "from another configuration; `pinhole net up` replaces it")
    monkeypatch.setattr(examine, "examine", lambda *_: [finding])
    monkeypatch.setattr(net, "all_standing", list)
    monkeypatch.setattr(net, "status", lambda settings, backend: [part])
    monkeypatch.setattr(net, "overtaking", lambda settings: [])
    monkeypatch.chdir(tmp_path)
    name = os.path.relpath(file)
    (told,) = json.loads(pinhole("doctor", "--json", "-c", name).stdout)["findings"]
    assert told["detail"] == f"`pinhole net up -c {file}` replaces it"
    assert told["remedy"] == f"sudo pinhole doctor -c {file}"
    (said,) = json.loads(pinhole("net", "status", "--json", "-c", name).stdout)["parts"]
    assert said["detail"] == f"from another configuration; `pinhole net up -c {file}` replaces it"
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", file)
    assert json.loads(pinhole("net", "status", "--json").stdout)["parts"] == [part._asdict()]


def test_the_table_in_force_is_that_of_the_daemon_that_runs_where_there_is_no_other_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "CONTROL", str(tmp_path / "control.sock"))
    with daemon(tmp_path / "control.sock", {"/v1/status": {"config": str(file)}}):
        document = json.loads(pinhole("show", "session-helper", "--json").stdout)
    assert document == json.loads(pinhole("show", "session-helper", "--json", "-c", file).stdout)
    assert document["source"] == str(file)
    assert json.loads(pinhole("show", "session-helper", "--json").stdout)["source"] == "built-in default"


@pytest.mark.parametrize("words", [["doctor"], ["net", "status"], ["show", "session-helper"]])
def test_commands_that_look_by_the_file_of_the_daemon_that_runs_say_so(words: list[str]) -> None:
    # Lines are broken at other places by the length of the system's path, and at hyphens, too.
    said = "".join(pinhole(*words, "--help").stdout.split())
    assert "else that of the daemon that runs, else the built-in default".replace(" ", "") in said
