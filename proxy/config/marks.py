"""Places in the files of a configuration, which error messages need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

Location = tuple[str | int, ...]
"""Keys and list indexes from the top of the configuration."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem at a place. Line and column count from 1; `path` is empty for the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        return self.told()

    def told(self, kind: str = "") -> str:
        """The problem in one line. `kind` says what it is, where that is no mistake."""
        place = f"{self.file}:{self.line}:{self.column}"
        return ": ".join(filter(None, (place, kind, self.path, self.text)))


@dataclass(slots=True)
class Document:
    """A configuration that was read. `value` holds None, bool, int, float, str, list and dict; `problems` says what
    could not be read."""

    files: Sequence[str]
    """The names of its files, in the order in which they were read."""
    root: yaml.Node | None = None
    value: Any = None
    problems: list[Problem] = field(default_factory=list)

    def existing(self, location: Location) -> Location:
        """Those steps of a location that the document has. The others are passed over."""
        node, found = self.root, []
        for each in location:
            _, below = child(node, each)
            if below is not None:
                node = below
                found.append(each)
        return tuple(found)

    def problem(self, location: Location, text: str, *, at_key: bool = False) -> Problem:
        """A problem with the value at `location`, or with its key. If the place is not in the file (a missing key, an
        element of something that is no list), the problem is reported at its nearest container."""
        node, key, path = self.root, None, ""
        for depth, each in enumerate(location, start=1):
            key, below = child(node, each)
            if below is None:
                if isinstance(each, str) and depth == len(location):
                    path += step(each, path)
                break
            node, path = below, path + step(each, path)
        return problem_at(key if at_key and key else node, path, text, self.files[0])

    def in_order(self, problems: Iterable[Problem]) -> list[Problem]:
        """These problems in the order of the files, each once."""
        order = {name: number for number, name in enumerate(self.files)}
        return sorted(set(problems), key=lambda one: (order.get(one.file, -1), one))


def step(each: str | int, path: str) -> str:
    """One step of a path, as text."""
    return f"[{each}]" if isinstance(each, int) else f".{each}" if path else each


def child(node: yaml.Node | None, each: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """The key and the value of a child node. None: there is no such child."""
    match node:
        case yaml.MappingNode() if isinstance(each, str):
            return next(((key, value) for key, value in node.value if key.value == each), (None, None))
        case yaml.SequenceNode() if isinstance(each, int) and each < len(node.value):
            return None, node.value[each]
        case _:
            return None, None


def problem_at(node: yaml.Node | None, path: str, text: str, file: str = "") -> Problem:
    """A problem where a node begins. None: at the beginning of `file`."""
    if node is None or node.start_mark is None:
        return Problem(file, 1, 1, path, text)
    mark = node.start_mark
    return Problem(mark.name, mark.line + 1, mark.column + 1, path, text)


def place_of(node: yaml.Node, seen_from: str) -> str:
    """Where a node is: its line, with the name of its file if that is another one."""
    mark = node.start_mark
    return f"line {mark.line + 1}" if mark.name == seen_from else f"{mark.name}:{mark.line + 1}"


def merged(roots: Sequence[yaml.Node], lists: Collection[str], problems: list[Problem]) -> yaml.Node:
    """The files of one configuration as one document. Mappings are joined key by key; the `lists` at the top follow one
    another, and one of their elements may stand there without brackets. All else may be set in one file only."""
    whole = roots[0]
    for index, root in enumerate(roots):
        if not isinstance(root, yaml.MappingNode):
            if len(roots) == 1:
                return root
            problems.append(problem_at(root, "", "expected keys and values"))
            continue
        root.value = [
            (key, _list_of(value) if key.value in lists and isinstance(value, yaml.MappingNode) else value)
            for key, value in root.value
        ]
        if index:
            whole = _joined(whole, root, lists, "", problems) if isinstance(whole, yaml.MappingNode) else root
    return whole


def _list_of(node: yaml.MappingNode) -> yaml.SequenceNode:
    """A list of one."""
    return yaml.SequenceNode("tag:yaml.org,2002:seq", [node], node.start_mark, node.end_mark)


def _joined(
    whole: yaml.MappingNode, part: yaml.MappingNode, lists: Collection[str], path: str, problems: list[Problem]
) -> yaml.MappingNode:
    """The whole with the keys of a part. Nodes are never changed, since aliases may share them."""
    pairs = list(whole.value)
    places = {key.value: place for place, (key, _) in reversed(list(enumerate(pairs)))}
    for key, value in part.value:
        if key.value not in places:
            pairs.append((key, value))
            continue
        known_key, known = pairs[places[key.value]]
        where = path + step(str(key.value), path)
        match known, value:
            case yaml.MappingNode(), yaml.MappingNode():
                known = _joined(known, value, (), where, problems)
            case yaml.SequenceNode(), yaml.SequenceNode() if key.value in lists:
                known = yaml.SequenceNode(known.tag, [*known.value, *value.value], known.start_mark, known.end_mark)
            case yaml.ScalarNode(), yaml.ScalarNode() if where == "version" and known.value == value.value:
                continue
            case _:
                given = place_of(known_key, key.start_mark.name)
                problems.append(problem_at(key, where, f"this key was given before, in {given}"))
        pairs[places[key.value]] = (known_key, known)
    return yaml.MappingNode(whole.tag, pairs, whole.start_mark, whole.end_mark)
