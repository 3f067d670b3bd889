"""The manual pages tell of everything that there is, and man reads them without complaint."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.command.cli import COMMANDS
from proxy.config.schema import json_schema
from proxy.record.catalogue import EVENTS
from proxy.record.events.rules import RULES
from tools import manpages
from tools.roff import Page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in manpages.write(tmp_path_factory.mktemp("man"))}


def shown(path: Path) -> str:
    """What man shows of a page, without its line breaks."""
    command = ["groff", "-man", "-ww", "-Tascii", "-Kutf8", "-P-c", "-P-bou", "-rLL=2000n", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return " ".join(done.stdout.split())


def plain(path: Path) -> str:
    """The text of a page without what is said to roff."""
    return path.read_text().replace("\\fB", "").replace("\\fR", "").replace("\\-", "-")


def test_every_command_has_its_part(pages: dict[str, Path]) -> None:
    text = plain(pages["pinhole.8"])
    assert [name for name in COMMANDS if f'.SS "pinhole {name}' not in text] == []
    assert '.SS "pinhole net up' in text


def test_every_key_of_the_configuration_has_an_entry(pages: dict[str, Path]) -> None:
    text, schema = plain(pages["pinhole.yaml.5"]), json_schema()
    keys = [*schema["properties"], *(f"limits.{key}" for key in schema["$defs"]["Limits"]["properties"])]
    keys += [f"policies[].{key}" for key in schema["$defs"]["Policy"]["properties"]]
    keys += [f"policies[].options.ftp.{key}" for key in schema["$defs"]["FtpOptions"]["properties"]]
    assert [key for key in keys if f".TP\n{key}\n" not in text] == []


def test_every_event_and_every_rule_is_told_of(pages: dict[str, Path]) -> None:
    text = plain(pages["pinhole-audit.5"])
    assert [name for name, event in EVENTS.items() if f'.SS "{name} ({event.severity})"' not in text] == []
    assert [name for name in RULES if f".TP\n{name}\n" not in text] == []


@pytest.mark.parametrize("name", manpages.PAGES)
def test_man_reads_it_without_complaint(pages: dict[str, Path], name: str) -> None:
    if shutil.which("groff"):
        assert "NAME" in shown(pages[name])
    if shutil.which("lexgrog"):  # what apropos and whatis find
        subprocess.run(["lexgrog", str(pages[name])], capture_output=True, check=True)
    if shutil.which("mandoc"):
        subprocess.run(["mandoc", "-Tlint", "-Werror", str(pages[name])], capture_output=True, check=True)


def test_text_is_not_taken_for_what_is_said_to_roff(tmp_path: Path) -> None:
    page = Page("x", 1, "a \\ test")
    page.paragraph(".hidden 'quoted' \\n[.x] `typed`")
    page.entry("'tag", "--long")
    path = tmp_path / "x.1"
    path.write_text(page.text())
    if shutil.which("groff"):
        assert ".hidden 'quoted' \\n[.x] typed 'tag --long" in shown(path)


def test_lines_that_click_keeps_are_kept(tmp_path: Path) -> None:
    page = Page("x", 1, "a test")
    page.prose("One\nparagraph.\n\n\b\nkept:  so\nand so")
    assert "\nOne paragraph.\n" in page.text()
    assert "\nkept:  so\nand so\n" in page.text()
