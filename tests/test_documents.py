"""What the documents name is there, and they speak of the project alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from proxy.cli import main

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), ROOT / "configs/README.md", ROOT / "tools/bench/README.md"])
A_PATH = re.compile(r"`((?:proxy|protocols|tests|tools|configs|\.ci)/[\w./-]*\w)`")
A_COMMAND = re.compile(r"(?:`|^    )pinhole ((?:[a-z-]+ ?)+)", re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    named = set(A_PATH.findall(document.read_text())) - {"protocols/NAME.py", "tests/protocols/test_NAME.py"}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    for words in A_COMMAND.findall(document.read_text()):
        assert words.split()[0] in main.commands, words


def test_the_architecture_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    modules = [*ROOT.glob("proxy/*.py"), *ROOT.glob("protocols/*.py")]
    missing = [path.name for path in modules if path.stem.strip("_") == path.stem and f"/{path.name}`" not in text]
    assert missing == []


def test_no_file_names_a_package_index_or_a_place_on_somebodys_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    wrong = re.compile(rb"pypi\.(?:org|python)|files\.pythonhosted|--index-url|--find-links|/(?:home|root|Users)/\w")
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__) and "captures" not in path.parts:
            assert not wrong.search(path.read_bytes()), name
