"""Which module may know which: `protocols` knows no system and no `proxy`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = sorted((ROOT / "protocols").glob("*.py"))

ALLOWED = {
    "__future__",
    "annotated_types",
    "binascii",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "protocols",
    "pyparsing",
    "re",
    "string",
    "struct",
    "typing",
}
"""All of these are functions of their arguments: no socket, no clock, no chance, no file, no log."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield (node.module or "").partition(".")[0]


def test_there_is_something_to_look_at() -> None:
    assert ROOT / "protocols" / "engine.py" in PURE


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_protocols_imports_nothing_that_touches_the_system(path: Path) -> None:
    assert set(imports(path)) <= ALLOWED


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_protocols_opens_no_file_and_prints_nothing(path: Path) -> None:
    calls = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if _is_plain_call(node)}
    assert not calls & {"open", "print", "input", "eval", "exec", "__import__"}


def _is_plain_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_no_group_of_a_pattern_is_possessive(path: Path) -> None:
    """Python before 3.11.5 matches `(...)*+` wrongly (gh-106052); what is tested on a newer one would not show it."""
    strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    texts = (text.decode("latin-1") if isinstance(text, bytes) else text for text in strings)
    found = [text for text in texts if isinstance(text, str) and re.search(r"\)(?:[*+?]|\{[0-9,]*\})\+", text)]
    assert [text for text in found if "gh-106052" not in text] == []
