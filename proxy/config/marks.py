"""Reads YAML into plain values, each with its place in the file, which error messages need.

The reader understands only what a configuration needs: mappings with words as keys, lists, and the scalars of JSON.
Words are read as YAML 1.2 reads them (`on`, `no` and `1:30` are words, 010 is no number). Nesting and alias expansion
have a bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 20
"""How deep lists and mappings may be nested. A configuration needs six levels."""
MAX_VALUES = 200_000
"""How many values a document may have, with its aliases expanded: that is enough for twenty thousand policies."""

_INT = r"[-+]?(?:0|[1-9][0-9]{0,30})|0x[0-9a-fA-F]{1,30}"
_FLOAT = r"[-+]?(?:0|[1-9][0-9]{0,30})\.[0-9]{0,30}(?:[eE][-+]?[0-9]{1,2})?"

_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

Location = tuple[str | int, ...]
"""Keys and list indexes from the top of the document."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem at a place. Line and column count from 1; `path` is empty for the document as a whole."""

    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        return ":".join(filter(None, (f"{self.line}:{self.column}", self.path and f" {self.path}", f" {self.text}")))


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with the words of the YAML 1.2 core schema in place of those of 1.1."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass(slots=True)
class Document:
    """A document that was read. `value` holds None, bool, int, float, str, list and dict; `problems` says what could
    not be read."""

    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    root: yaml.Node | None = None

    def existing(self, location: Location) -> Location:
        """Those steps of a location that the document has. The others are passed over."""
        node, found = self.root, []
        for step in location:
            _, child = _child(node, step)
            if child is not None:
                node = child
                found.append(step)
        return tuple(found)

    def problem(self, location: Location, text: str, *, at_key: bool = False) -> Problem:
        """A problem with the value at `location`, or with its key. If the place is not in the file (a missing key, an
        element of something that is no list), the problem is reported at its nearest container."""
        node, key, path = self.root, None, ""
        for depth, step in enumerate(location, start=1):
            key, child = _child(node, step)
            if child is None:
                if isinstance(step, str) and depth == len(location):
                    path += _step(step, path)
                break
            node, path = child, path + _step(step, path)
        return Problem(*_position(key if at_key and key else node), path, text)


def _step(step: str | int, path: str) -> str:
    """One step of a path, as text."""
    return f"[{step}]" if isinstance(step, int) else f".{step}" if path else step


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """The key and the value of a child node. None: there is no such child."""
    match node:
        case yaml.MappingNode() if isinstance(step, str):
            return next(((key, value) for key, value in node.value if key.value == step), (None, None))
        case yaml.SequenceNode() if isinstance(step, int) and step < len(node.value):
            return None, node.value[step]
        case _:
            return None, None


def _position(node: yaml.Node | None) -> tuple[int, int]:
    """The line and the column where a node begins."""
    return _line_and_column(node.start_mark if node is not None else None)


def _line_and_column(mark: Any) -> tuple[int, int]:
    """The line and the column of one of PyYAML's marks, which count from 0. None: the beginning of the file."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def read(data: bytes) -> Document:
    """Read one YAML document. Never raises for what the document holds."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        return Document(problems=[_problem_after(before, "not UTF-8 text")])
    try:
        if problem := _too_deep(text):
            return Document(problems=[problem])
        root = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        return Document(problems=[_problem_after(text[: error.position], "a character that YAML does not allow")])
    except yaml.MarkedYAMLError as error:
        words = ", ".join(filter(None, (error.context, error.problem)))
        return Document(problems=[Problem(*_line_and_column(error.problem_mark or error.context_mark), "", words)])
    document = Document(root=root)
    if root is not None:
        document.value = _Reader(document.problems).value(root, "", 0)
    return document


def _problem_after(before: str, text: str) -> Problem:
    """A problem at the place behind this text."""
    return Problem(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1, "", text)


def _too_deep(text: str) -> Problem | None:
    """The first place that is nested too deeply. It is looked for in the stream of events, which takes no recursion;
    composing nodes does."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        match event:
            case yaml.CollectionStartEvent():
                depth += 1
            case yaml.CollectionEndEvent():
                depth -= 1
        if depth > MAX_DEPTH:
            return Problem(*_line_and_column(event.start_mark), "", "nested too deeply")
    return None


class _TooLarge(Exception):
    """The document has too many values, or nests too deeply."""

    pass


class _Reader:
    """Turns nodes into values, and collects problems."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._values = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        """The value of a node."""
        try:
            return self._value(node, path, depth)
        except _TooLarge:
            self._problems[:] = [
                Problem(*_position(node), "", "too large, or aliases (*name) that contain one another")
            ]
            return None

    def _value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            raise _TooLarge
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            self._report(node, path, f"the tag {node.tag} is not used here")
        match node:
            case yaml.MappingNode():
                return dict(self._pairs(node, path, depth))
            case yaml.SequenceNode():
                return [self._value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _pairs(self, node: yaml.MappingNode, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        """The keys and values of a mapping."""
        seen: dict[str, int] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(key, path, "a key must be a word")
                continue
            name: str = key.value
            where = path + _step(name, path)
            if name in seen:
                self._report(key, where, f"this key was given before, in line {seen[name]}")
                continue
            seen[name] = key.start_mark.line + 1
            yield name, self._value(child, where, depth + 1)

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        """The value of a scalar."""
        text: str = node.value
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if re.fullmatch(_INT, text):
                return int(text, 16 if text.startswith("0x") else 10)
            case "float" if re.fullmatch(_FLOAT, text):
                return float(text)
            case "str":
                return text
            case _:
                self._report(node, path, f"the tag {node.tag} is not used here")
                return text

    def _report(self, node: yaml.Node, path: str, text: str) -> None:
        self._problems.append(Problem(*_position(node), path, text))


def render(file: str, problems: Sequence[Problem]) -> list[str]:
    """One line for each problem, in the order of the file, each once."""
    return [f"{file}:{problem}" for problem in sorted(set(problems))]
