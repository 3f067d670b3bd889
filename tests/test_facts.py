"""The rules that comments and tests cite by number stand in protocols/FACTS.md, each of them once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]
FACTS = ROOT / "protocols" / "FACTS.md"
A_RULE = re.compile(r"^- \*\*([A-Z]+[0-9]+)\*\* (.+(?:\n  .+)*)", re.MULTILINE)
LETTERS = sorted({name.rstrip("0123456789") for name, _ in A_RULE.findall(FACTS.read_text())}, key=len, reverse=True)
"""Of each helper, and of what all of them share. A helper that is added brings its own."""
AN_ID = re.compile(rf"\b(?:{'|'.join(LETTERS)})[1-9][0-9]?\b")
FOLDERS = ("configs", "protocols", "proxy", "tests", "tools")
TEXTS = {".md", ".py", ".sh", ".txt", ".yaml"}


def rules() -> list[tuple[str, str]]:
    return A_RULE.findall(FACTS.read_text())


def cited() -> Iterator[tuple[str, str]]:
    """Each id in the project's own texts, with the file that it stands in."""
    files = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    for path in files:
        if path.suffix in TEXTS and path != FACTS and "captures" not in path.parts:
            yield from ((found, str(path.relative_to(ROOT))) for found in set(AN_ID.findall(path.read_text())))


def test_every_id_that_is_cited_is_a_rule() -> None:
    known = {name for name, _ in rules()}
    assert sorted((name, path) for name, path in cited() if name not in known) == []


def test_rules_that_rules_refer_to_are_there() -> None:
    known = {name for name, _ in rules()}
    assert [(name, other) for name, text in rules() for other in AN_ID.findall(text) if other not in known] == []


def test_no_number_is_given_twice_and_they_stand_in_order() -> None:
    numbers: dict[str, list[int]] = {}
    for name, _ in rules():
        letters = name.rstrip("0123456789")
        numbers.setdefault(letters, []).append(int(name.removeprefix(letters)))
    groups = [letters for letters, _ in groupby(name.rstrip("0123456789") for name, _ in rules())]
    assert groups == list(numbers)  # the rules of one letter stand together
    assert [letter for letter, given in numbers.items() if given != sorted(set(given))] == []


def test_rules_and_those_who_cite_them_are_found() -> None:
    names = {name for name, _ in cited()}
    assert {"D41", "F24", "S62", "T23", "X8"} <= names & {name for name, _ in rules()}
    assert len(rules()) == FACTS.read_text().count("\n- ")
    assert len(names) > 200


def test_every_rule_ends_with_its_source() -> None:
    """But those of Oracle TNS, of which the heading says it."""
    tns = re.compile(r"T[0-9]+")
    standard = r"(?:RFC [0-9]{3,4}|C706|MS-[A-Z]+|H\.[0-9]+|X\.691|SANE s\.)"
    source = re.compile(rf"(?:{standard}[^*]*\.|\*(?:field|linux|own)\.\*)$", re.IGNORECASE)
    assert [
        name for name, text in rules() if not tns.fullmatch(name) and not source.search(" ".join(text.split()))
    ] == []
