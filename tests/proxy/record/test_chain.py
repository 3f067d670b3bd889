"""A chained log shows what was done to it, over rotation, restarts and sudden ends."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.command.cli import main
from proxy.record.audit import Origin, open_log
from proxy.record.chain import Chain
from proxy.record.forms import form
from proxy.record.outlets import FileOutlet
from proxy.record.sinks import Sink

Lines = list[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def life(path: Path, count: int, instance: str = "1cce2aa5", shape: str = "json") -> None:
    """A daemon writes so many lines."""
    sink = Sink(FileOutlet(str(path), form(shape), is_chained=True))
    log = open_log(Origin("gateway", instance), sink)
    for number in range(count):
        log.write("session.opened", number=number)
    sink.close()


def verify(*paths: Path, words: Sequence[str] = ()) -> Result:
    return CliRunner().invoke(main, ["audit", "verify", *map(str, paths), *words])


def edit(path: Path, change: Callable[[Lines], object]) -> None:
    lines = path.read_text().splitlines(keepends=True)
    change(lines)
    path.write_text("".join(lines))


@pytest.mark.parametrize("shape", ["json", "ecs"])
def test_a_log_as_it_was_written_is_fine(path: Path, shape: str) -> None:
    life(path, 20, shape=shape)
    said = verify(path)
    assert said.exit_code == 0
    assert said.output.startswith("20 lines in 1 file are as they were written, 20")
    newest = json.loads(path.read_text().splitlines()[-1])["hash"]
    assert said.output.splitlines()[1] == f"newest hash: {newest}"


def test_each_line_names_the_one_before(path: Path) -> None:
    life(path, 3)
    first, second, third = (json.loads(line) for line in path.read_text().splitlines())
    assert first["prev"] is None
    assert (second["prev"], third["prev"]) == (first["hash"], second["hash"])


@pytest.mark.parametrize("number", [0, 7, 19])
def test_a_line_that_was_changed_is_named(path: Path, number: int) -> None:
    life(path, 20)

    def change(lines: Lines) -> None:
        lines[number] = lines[number].replace("gateway", "Gateway")

    edit(path, change)
    said = verify(path)
    assert (said.exit_code, said.stderr) == (1, f"{path}:{number + 1}: was changed\n")


def test_a_line_that_was_removed_is_named(path: Path) -> None:
    life(path, 20)
    edit(path, lambda lines: lines.pop(7))
    said = verify(path)
    assert (said.exit_code, said.stderr) == (1, f"{path}:8: line 8 is missing before it, by `seq`\n")


def test_a_line_that_was_doubled_is_named(path: Path) -> None:
    life(path, 20)
    edit(path, lambda lines: lines.insert(12, lines[7]))
    said = verify(path)
    assert (said.exit_code, said.stderr) == (1, f"{path}:13: is a double of {path}:8\n")


def test_lines_that_changed_places_are_named(path: Path) -> None:
    life(path, 20)

    def change(lines: Lines) -> None:
        lines[7], lines[8] = lines[8], lines[7]

    edit(path, change)
    said = verify(path)
    assert (said.exit_code, said.stderr.partition(": ")[0]) == (1, f"{path}:8")


def test_a_line_that_was_added_is_named(path: Path) -> None:
    life(path, 20)
    edit(path, lambda lines: lines.insert(7, '{"time":"2026-11-29T20:00:00.000000Z","event":"session.opened"}\n'))
    said = verify(path)
    assert (said.exit_code, said.stderr.partition(": ")[0]) == (1, f"{path}:8")
    assert "has no hash" in said.stderr


def test_a_line_with_a_hash_of_its_own_does_not_fit_what_stands_before_it(path: Path, tmp_path: Path) -> None:
    life(path, 20)
    other = tmp_path / "forged"
    life(other, 1)
    edit(path, lambda lines: lines.insert(7, other.read_text()))
    assert verify(path).stderr.startswith(f"{path}:8: ")


def test_the_chain_goes_on_after_a_restart(path: Path) -> None:
    life(path, 5)
    life(path, 5, "2222aaaa")
    assert verify(path).output.startswith("10 lines in 1 file")
    edit(path, lambda lines: lines.pop(4))
    said = verify(path)
    assert said.stderr.startswith(f"{path}:5: does not follow {path}:4")


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("suffixes", [(".2", ".1"), ("-20261128", "-20261129")])
def test_rotated_files_are_followed(path: Path, suffixes: tuple[str, ...], is_compressed: bool) -> None:
    sink = Sink(FileOutlet(str(path), is_chained=True))
    log = open_log(Origin("gateway", "1cce2aa5"), sink)
    for suffix in suffixes:
        for _ in range(5):
            log.write("session.opened")
        while sink.waiting:
            pass
        moved = path.with_name(path.name + suffix)
        path.rename(moved)
        sink.reopen()
        while not path.exists():
            pass
        if is_compressed:
            path.with_name(moved.name + ".gz").write_bytes(gzip.compress(moved.read_bytes()))
            moved.unlink()
    log.write("session.opened")
    sink.close()
    (path.parent / "audit.log.bak").write_text("a copy of somebody's")
    assert verify(path).output.startswith("11 lines in 3 files")
    ending = ".gz" if is_compressed else ""
    path.with_name(path.name + suffixes[1] + ending).unlink()
    assert verify(path).stderr.startswith(f"{path}:1: lines 6 to 10 are missing")


def test_what_was_rotated_away_is_a_remark(path: Path) -> None:
    life(path, 5)
    edit(path, lambda lines: lines.pop(0))
    said = verify(path)
    assert (said.exit_code, "may have been rotated away" in said.stderr) == (0, True)


def test_a_line_that_was_cut_when_the_daemon_was_killed_is_a_remark(path: Path) -> None:
    life(path, 5)
    with path.open("a") as file:
        file.write('{"time":"2026-11')
    life(path, 5, "2222aaaa")
    said = verify(path)
    assert (said.exit_code, said.stdout.partition(" are")[0]) == (0, "10 lines in 1 file")
    assert said.stderr.startswith(f"remark: {path}:6: ")


def test_a_line_that_is_just_being_written_is_a_remark(path: Path) -> None:
    life(path, 5)
    with path.open("a") as file:
        file.write('{"time":"2026-11')
    said = verify(path)
    assert (said.exit_code, "is being written" in said.stderr) == (0, True)


def test_lines_from_before_there_was_a_chain_are_passed_over(path: Path) -> None:
    path.write_text('{"time":"2026-11-29T20:00:00.000000Z","event":"session.opened"}\n')
    life(path, 5)
    assert verify(path).output.startswith("5 lines in 1 file")


def test_a_log_that_was_moved_away_while_the_daemon_was_down_begins_anew(path: Path) -> None:
    life(path, 5)
    path.rename(path.with_name("audit.log.1"))
    life(path, 5, "2222aaaa")
    said = verify(path)
    assert (said.exit_code, "begins anew" in said.stderr) == (0, True)


def test_a_log_without_a_chain_is_not_fine(path: Path) -> None:
    path.write_text('{"time":"2026-11-29T20:00:00.000000Z","event":"session.opened"}\n')
    said = verify(path)
    assert (said.exit_code, "no line has a hash" in said.stderr) == (1, True)


def test_for_programs(path: Path) -> None:
    life(path, 5)
    told = json.loads(verify(path, words=["--json"]).stdout)
    assert (told["ok"], told["lines"], told["fault"]) == (True, 5, None)
    edit(path, lambda lines: lines.pop(2))
    told = json.loads(verify(path, words=["--json"]).stdout)
    assert (told["ok"], told["place"]) == (False, f"{path}:3")


def test_bytes_that_are_no_text_were_written_by_others(path: Path) -> None:
    life(path, 5)
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":\xff'))
    said = verify(path)
    assert (said.exit_code, said.stderr) == (1, f"{path}:3: was changed\n")


def test_a_line_that_nests_too_deeply_to_be_read_is_a_remark(path: Path) -> None:
    life(path, 5)
    edit(path, lambda lines: lines.insert(2, "[" * 100_000 + "\n"))
    said = verify(path)
    assert (said.exit_code, said.output.startswith(f"remark: {path}:3: is no line of the log")) == (0, True)


def test_a_forger_who_writes_other_kinds_of_values_is_told_from_the_log(path: Path) -> None:
    lines, chain = [], Chain()
    for number in range(3):
        lines.append(chain.link(f'{{"time":"2026","event":"x","instance":"a","seq":"{number}"}}') + "\n")
    path.write_text(lines[0] + lines[2])
    said = verify(path)
    assert (said.exit_code, said.stderr.partition(": does not follow")[0]) == (1, f"{path}:2")


@pytest.mark.parametrize("kept", [100, 250])
def test_a_compressed_file_that_is_damaged_is_said_in_one_line(path: Path, kept: int) -> None:
    life(path, 50)
    packed = gzip.compress(path.read_bytes())
    path.with_name("audit.log.1.gz").write_bytes(packed[:kept] + bytes(range(256)) * 4)
    said = verify(path)
    assert (said.exit_code, len(said.stderr.splitlines())) == (1, 1)


def test_a_log_that_is_not_there_is_said_to_be_not_there(path: Path) -> None:
    said = verify(path)
    assert said.exit_code == 1
    assert "there is no such file" in said.stderr


def test_what_cannot_be_read_is_said_in_one_line(path: Path) -> None:
    os.mkdir(path)
    said = verify(path)
    assert (said.exit_code, len(said.stderr.splitlines())) == (1, 1)


def test_a_pipe_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    said = verify(path)
    assert (said.exit_code, len(said.stderr.splitlines())) == (1, 1)
    assert "it has to be a file" in said.stderr
