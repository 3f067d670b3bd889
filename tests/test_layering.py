"""Which module may know which: `protocols` knows no system and no `proxy`, and each room only those below it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols import HELPERS
from tools import structure

ROOT = Path(__file__).parent.parent
PURE = sorted((ROOT / "protocols").rglob("*.py"))

ALLOWED = {
    "__future__",
    "abc",
    "annotated_types",
    "binascii",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "math",
    "posixpath",
    "protocols",
    "pyparsing",
    "re",
    "string",
    "struct",
    "typing",
}
"""All of these are functions of their arguments: no socket, no clock, no chance, no file, no log. Of posixpath that is
true of `normpath`, which is all that is taken of it."""


@pytest.fixture(scope="module")
def files() -> structure.Graph:
    return structure.modules()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield (node.module or "").partition(".")[0]


def test_there_is_something_to_look_at(files: structure.Graph) -> None:
    assert {"protocols", "protocols.ftp", "protocols.sip", "protocols.tns"} <= {
        structure.room_of(name) for name in files
    }
    assert len(PURE) == sum(name.partition(".")[0] == "protocols" for name in files) > 30


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_protocols_imports_nothing_that_touches_the_system(path: Path) -> None:
    assert set(imports(path)) <= ALLOWED


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_protocols_opens_no_file_and_prints_nothing(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {function.id for function in calls if isinstance(function, ast.Name)}
    assert not names & {"open", "print", "input", "eval", "exec", "__import__"}


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_group_of_a_pattern_is_possessive(path: Path) -> None:
    """Python before 3.11.5 matches `(...)*+` wrongly (gh-106052); what is tested on a newer one would not show it."""
    strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    texts = (text.decode("latin-1") if isinstance(text, bytes) else text for text in strings)
    found = [text for text in texts if isinstance(text, str) and re.search(r"\)(?:[*+?]|\{[0-9,]*\})\+", text)]
    assert [text for text in found if "gh-106052" not in text] == []


SPEAKS_OF_HELPERS = {
    "proxy/doctor/nft_expressions.py": "names of ports, as nft writes them",
    "proxy/fortios": "names of FortiOS, and which helper is meant by each",
    "proxy/record/events": "the catalogue of what helpers write",
}
"""Where names of helpers stand in `proxy`, and as what."""


@pytest.mark.parametrize("path", sorted((ROOT / "proxy").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_proxy_knows_a_helper_by_name(path: Path) -> None:
    """What is true of a helper stands in its `Helper`, so that a new one needs no change here."""
    if any(path.is_relative_to(ROOT / place) for place in SPEAKS_OF_HELPERS):
        return
    words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    assert not words & set(HELPERS)


# -- rooms and floors --------------------------------------------------------------------------------------------------


def test_no_modules_import_each_other(files: structure.Graph) -> None:
    assert structure.circles(files) == []


def test_no_rooms_import_each_other(files: structure.Graph) -> None:
    assert structure.circles(structure.rooms(files)) == []


def test_each_room_imports_only_rooms_below_it(files: structure.Graph) -> None:
    """A helper so imports no other one: they are on one floor."""
    assert structure.arrows_up(structure.rooms(files)) == []


def test_every_room_has_its_floor(files: structure.Graph) -> None:
    assert {structure.room_of(name) for name in files} <= structure.PLACED
