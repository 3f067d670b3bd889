"""Files of the daemon are nowhere where others could put something in their place, and no link is followed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.command.cli import main
from proxy.control import place
from proxy.errors import SocketError
from proxy.record import outlets
from proxy.record.sinks import Sink


def check(tmp_path: Path, **keys: object) -> Result:
    file = tmp_path / "pinhole.yaml"
    lines = [f"{key}: {value}\n" for key, value in keys.items()]
    file.write_text("policies: [{name: all, action: accept}]\n" + "".join(lines))
    return CliRunner().invoke(main, ["check", str(file)])


def open_directory(tmp_path: Path, mode: int) -> Path:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(mode)
    return directory


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o703])
@pytest.mark.parametrize("key", ["audit", "control"])
def test_a_directory_that_everybody_may_write_to_is_refused(tmp_path: Path, mode: int, key: str) -> None:
    at = open_directory(tmp_path, mode) / "x"
    result = check(tmp_path, **{key: f"{{to: {at}}}" if key == "audit" else at})
    assert result.exit_code == 1
    assert "pinhole.yaml:2:" in result.stderr
    assert f"everybody may write into {at.parent}" in result.stderr


@pytest.mark.parametrize("key", ["audit", "control"])
def test_so_is_one_below_it_unless_it_is_sticky(tmp_path: Path, key: str) -> None:
    above = open_directory(tmp_path, 0o777)
    (above / "own").mkdir(mode=0o755)
    at = above / "own" / "x"
    keys = {key: f"{{to: {at}}}" if key == "audit" else at}
    assert "in the place of" in check(tmp_path, **keys).stderr
    above.chmod(0o1777)
    assert check(tmp_path, **keys).exit_code == 0


def test_a_configuration_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    assert check(tmp_path).exit_code == 0
    (tmp_path / "pinhole.yaml").chmod(0o666)
    assert "chmod o-w" in check(tmp_path).stderr
    (tmp_path / "pinhole.yaml").chmod(0o644)
    tmp_path.chmod(0o777)
    assert "put another file in its place" in check(tmp_path).stderr


@pytest.mark.parametrize("key", ["audit", "control"])
def test_a_link_on_the_way_is_no_directory_that_all_may_write_to(tmp_path: Path, key: str) -> None:
    """As `/var/run`, which leads to `/run`. All may write to a link by its mode, which says nothing."""
    (tmp_path / "run" / "pinhole").mkdir(parents=True, mode=0o755)
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "direct").symlink_to(tmp_path / "run" / "pinhole")
    for at in (tmp_path / "link" / "pinhole" / "x", tmp_path / "direct" / "x"):
        assert check(tmp_path, **{key: f"{{to: {at}}}" if key == "audit" else at}).exit_code == 0


@pytest.mark.parametrize("key", ["audit", "control"])
def test_where_a_link_leads_to_and_what_it_is_in_are_judged(tmp_path: Path, key: str) -> None:
    above = open_directory(tmp_path, 0o777)
    (above / "own").mkdir(mode=0o755)
    (tmp_path / "safe").mkdir(mode=0o755)
    (tmp_path / "to-open").symlink_to("open/own")
    (above / "to-safe").symlink_to("../safe")
    for at in (tmp_path / "to-open" / "x", above / "to-safe" / "x"):
        said = check(tmp_path, **{key: f"{{to: {at}}}" if key == "audit" else at}).stderr
        assert f"everybody may put another directory in the place of {at.parent}: {above} is writable by all" in said
    (tmp_path / "straight").symlink_to("open")
    at = tmp_path / "straight" / "x"
    said = check(tmp_path, **{key: f"{{to: {at}}}" if key == "audit" else at}).stderr
    assert f"everybody may write into {at.parent}" in said


def test_so_is_the_way_to_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above, text = open_directory(tmp_path, 0o777), "policies: [{name: all, action: accept}]"
    (tmp_path / "site" / "folder").mkdir(parents=True)
    (tmp_path / "site" / "pinhole.yaml").write_text(text)
    (above / "pinhole.yaml").write_text(text)
    (tmp_path / "link").symlink_to("site/folder")
    (tmp_path / "file.yaml").symlink_to(above / "pinhole.yaml")
    (tmp_path / "round").symlink_to("round")
    monkeypatch.chdir(tmp_path)
    for name in ("link/../pinhole.yaml", f"{tmp_path}/site/./pinhole.yaml"):
        assert CliRunner().invoke(main, ["check", name]).exit_code == 0
    for name in (f"{tmp_path}/file.yaml", "site/../open/pinhole.yaml"):
        said = CliRunner().invoke(main, ["check", name]).stderr
        assert f"everybody may put another file in its place: {above} is writable by all" in said
    above.chmod(0o755)
    assert CliRunner().invoke(main, ["check", "file.yaml"]).exit_code == 0
    (above / "pinhole.yaml").chmod(0o666)
    assert (
        "everybody may write this file: chmod o-w file.yaml" in CliRunner().invoke(main, ["check", "file.yaml"]).stderr
    )
    assert "cannot be read" in CliRunner().invoke(main, ["check", f"{tmp_path}/round/x.yaml"]).stderr


def test_places_that_are_not_there_yet_are_not_judged(tmp_path: Path) -> None:
    assert check(tmp_path, control=tmp_path / "not" / "there", audit=f"{{to: {tmp_path}/neither}}").exit_code == 0


def test_no_link_is_followed_to_where_the_log_would_be_written(tmp_path: Path) -> None:
    victim, log = tmp_path / "victim", tmp_path / "audit.log"
    victim.write_text("precious")
    log.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        outlets.open_file(str(log))
    assert victim.read_text() == "precious"
    log.unlink()
    log.symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="symbolic link"):
        outlets.open_file(str(log))
    assert not (tmp_path / "made").exists()
    assert "symbolic link" in check(tmp_path, audit=f"{{to: {log}}}").stderr


def test_after_rotation_no_link_is_followed_either(tmp_path: Path) -> None:
    log, victim = tmp_path / "audit.log", tmp_path / "victim"
    victim.write_text("precious")
    os.close(outlets.open_file(str(log)))
    reports: list[str] = []
    sink = Sink(outlets.FileOutlet(str(log)), reports.append)
    log.rename(tmp_path / "old")
    log.symlink_to(victim)
    sink.reopen()
    sink("line")
    sink.close()
    assert victim.read_text() == "precious"
    assert "line" in (tmp_path / "old").read_text()
    assert "symbolic link" in reports[0]


def test_no_link_in_the_place_of_the_control_socket_is_followed(tmp_path: Path) -> None:
    elsewhere, at = tmp_path / "elsewhere", tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(elsewhere))
    at.symlink_to(elsewhere)
    with pytest.raises(SocketError, match="remove it"):
        place.bind(str(at))
    assert elsewhere.exists()
    assert at.is_symlink()


def test_the_control_socket_is_a_path_or_a_path_with_two_groups(tmp_path: Path) -> None:
    for control in (tmp_path / "x.sock", f"{{path: {tmp_path}/x.sock, look: ops, change: 4711}}", "{look: ops}"):
        assert check(tmp_path, control=control).exit_code == 0
    assert "the name or the number of a group" in check(tmp_path, control="{look: 'no such'}").stderr
    assert "absolute path" in check(tmp_path, control="{path: x}").stderr
