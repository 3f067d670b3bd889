"""What the documents name is there, and they speak of the project alone."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from protocols import HELPERS
from proxy.command.cli import main
from proxy.config import reading

ROOT = Path(__file__).parents[1]
FOLDERS = ("configs", "docs", "protocols", "proxy", "tests", "tools")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
A_PATH = re.compile(r"`((?:proxy|protocols|tests|tools|configs|docs|\.ci)/[\w./-]*\w)`")
A_CONFIGURATION = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
A_MODULE = re.compile(r"`(\w+\.py)`")
A_PAGE = re.compile(r"\]\(([^)#:]+)\)")
A_COMMAND = re.compile(r"(?:`|^    )pinhole ([^`\n]+)", re.MULTILINE)
BEHIND_A_COMMAND = re.compile(r"\[.*|\S*[|>…].*")
"""What is left to whoever gives the command, and where its output goes."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    named = {path for path in A_PATH.findall(document.read_text()) if "NAME" not in path}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_names_is_one_with_such_options(document: Path) -> None:
    for words in A_COMMAND.findall(document.read_text()):
        command: click.Command = main
        given = shlex.split(BEHIND_A_COMMAND.sub("", words), comments=True)
        while isinstance(command, click.Group) and given:
            found = command.get_command(click.Context(command), given[0])
            assert found is not None, words
            command, given = found, given[1:]
        _, more, _ = command.make_parser(click.Context(command)).parse_args(given)
        assert more == [], words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_page_that_a_document_leads_to_exists(document: Path) -> None:
    assert [page for page in A_PAGE.findall(document.read_text()) if not (document.parent / page).exists()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_configuration_of_a_page_is_right(page: Path, tmp_path: Path) -> None:
    """A page shows whole files, which can be copied."""
    for text in A_CONFIGURATION.findall(page.read_text()):
        (tmp_path / "pinhole.yaml").write_text(text)
        reading.load(tmp_path / "pinhole.yaml")


def test_the_configuration_of_the_package_is_right() -> None:
    assert reading.load(ROOT / "debian/pinhole.yaml").audit.to == "/var/log/pinhole/audit.log"


def test_the_readme_has_each_helper_with_its_ports_and_says_which_are_off() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|\n]+ \| ([^|\n]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    said = {name: (set(re.findall(r"\d+", cell)), "off" in cell) for name, cell in rows}
    assert said == {name: ({str(port) for _, port in one.ports}, bool(one.off)) for name, one in HELPERS.items()}


def test_the_image_is_built_in_a_format_that_keeps_its_health_check() -> None:
    text = (ROOT / "Containerfile").read_text()
    builds = re.findall(r"^# +(?:podman|buildah) build.*", text, re.MULTILINE)
    assert builds and "\nHEALTHCHECK " in text
    assert [line for line in builds if "--format docker" not in line] == []


def test_the_architecture_names_every_room_and_every_module_beside_them() -> None:
    """A room is a folder in `protocols` or `proxy`; what modules it has tells itself."""
    modules = [path for folder in ("protocols", "proxy") for path in (ROOT / folder).rglob("*.py")]
    beside = {path for path in modules if path.parent.parent == ROOT and path.stem.strip("_") == path.stem}
    rooms = {path.parent for path in modules if path.parent.parent != ROOT}
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = [str(path.relative_to(ROOT)) for path in sorted(beside | rooms)]
    assert [name for name in named if not re.search(rf"`{name}/?`", text)] == []


def test_every_module_that_the_architecture_lists_by_its_room_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    lists = text[text.index("## The other parts") : text.index("\nBeside the rooms")]
    rooms = re.split(r"^\*\*`(.+)`\*\*$", lists, flags=re.MULTILINE)[1:]
    named = {
        ROOT / room / name
        for room, rows in zip(rooms[::2], rooms[1::2], strict=True)
        for name in A_MODULE.findall(rows)
    }
    assert len(named) > 100
    assert [str(path) for path in sorted(named) if not path.exists()] == []


def test_no_file_names_a_package_index_or_a_place_on_somebodys_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    wrong = re.compile(
        rb"pypi\.(?:org|python)|files\.pythonhosted|--index-url|--find-links|registry\.(?:npmjs|yarnpkg)|"
        rb"/(?:home|root|Users)/\w"
    )
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__) and "captures" not in path.parts:
            assert not wrong.search(path.read_bytes()), name
