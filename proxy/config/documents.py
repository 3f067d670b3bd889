"""Reads the YAML of a configuration into plain values, each with its place in its file.

The reader understands only what a configuration needs: mappings with words as keys, lists, and the scalars of JSON.
Words are read as YAML 1.2 reads them (`on`, `no` and `1:30` are words, 010 is no number). Nesting and alias expansion
have a bound. `${NAME}` in a value is replaced by a variable of the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import yaml

from proxy.config.files import Source
from proxy.config.marks import Document, Problem, merged, place_of, problem_at, step
from proxy.config.syntax import in_words
from proxy.config.variables import expanded

MAX_DEPTH = 20
"""How deep lists and mappings may be nested. A configuration needs six levels."""
MAX_VALUES = 200_000
"""How many values a document may have, with its aliases expanded: that is enough for twenty thousand policies."""

_INT = r"[-+]?(?:0|[1-9][0-9]{0,30})|0x[0-9a-fA-F]{1,30}"
_FLOAT = r"[-+]?(?:0|[1-9][0-9]{0,30})\.[0-9]{0,30}(?:[eE][-+]?[0-9]{1,2})?"

_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _TooDeep(yaml.MarkedYAMLError):
    """Lists and mappings are nested too deeply."""


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with the words of the YAML 1.2 core schema in place of those of 1.1, and a bound to nesting."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node. For each list and mapping this calls itself, so that the bound has to be kept here."""
        self._depth += 1
        if self._depth > MAX_DEPTH and self.check_event(yaml.CollectionStartEvent):
            raise _TooDeep(problem="nested too deeply", problem_mark=self.current_event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def read(
    sources: Sequence[Source], lists: Collection[str] = (), environment: Mapping[str, str] = os.environ
) -> Document:
    """Read the files of one configuration. `lists` are the keys at the top whose elements may come from several files.
    Never raises for what the files hold."""
    document = Document([one.name for one in sources])
    roots = [root for one in sources if (root := _compose(one, document.problems)) is not None]
    if roots and not document.problems:  # with a part of the files missing, the others would seem wrong
        document.root = merged(roots, lists, document.problems)
        document.value = _Reader(document.problems, environment).value(document.root, "", 0)
    return document


def of(value: Any, name: str) -> Document:
    """Plain values as a document. Its places are not known, but for their paths."""
    return Document([name], yaml.representer.SafeRepresenter().represent_data(value), value)


def _compose(source: Source, problems: list[Problem]) -> yaml.Node | None:
    """The root of one file. None: the file is empty, or cannot be read."""

    def behind(before: str, text: str) -> None:
        """A problem at the place behind this text."""
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problems.append(Problem(source.name, line, column, "", text))

    try:
        text = source.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        behind(source.data[: error.start].decode("utf-8-sig", "replace"), "not UTF-8 text")
        return None
    try:
        loader = _Loader(text)
        loader.name = source.name  # the marks bear it
        return loader.get_single_node()
    except yaml.reader.ReaderError as error:
        behind(text[: error.position], "a character that YAML does not allow")
    except yaml.MarkedYAMLError as error:
        is_late = "could not find expected ':'" in (error.problem or "")  # that is found only behind the word
        mark = (error.context_mark if is_late else error.problem_mark) or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        words = str(error.problem) if isinstance(error, _TooDeep) else in_words(error, text)
        problems.append(Problem(source.name, line, column, "", words))
    return None


class _TooLarge(Exception):
    """The document has too many values, or nests too deeply."""

    pass


class _Reader:
    """Turns nodes into values, and collects problems."""

    def __init__(self, problems: list[Problem], environment: Mapping[str, str]) -> None:
        self._problems = problems
        self._environment = environment
        self._values = 0
        self._words: yaml.resolver.Resolver = _Loader("")

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        """The value of a node."""
        try:
            return self._value(node, path, depth)
        except _TooLarge:
            self._problems[:] = [problem_at(node, "", "too large, or aliases (*name) that contain one another")]
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
        seen: dict[str, yaml.Node] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(key, path, "a key must be a word")
                continue
            name: str = key.value
            where = path + step(name, path)
            if name in seen:
                given = place_of(seen[name], key.start_mark.name)
                self._report(key, where, f"this key was given before, in {given}")
                continue
            seen[name] = key
            yield name, self._value(child, where, depth + 1)

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        """The value of a scalar."""
        text: str = node.value
        tag: str = node.tag
        if "${" in text:
            text, wrong = expanded(text, self._environment)
            for words in wrong:
                self._report(node, path, words)
            # What comes of it is read like a word that stands there, also where braces around it demand quotes.
            if tag == "tag:yaml.org,2002:str":
                tag = self._words.resolve(yaml.ScalarNode, text, (True, False))
        match tag.removeprefix("tag:yaml.org,2002:"):
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
                self._report(node, path, f"the tag {tag} is not used here")
                return text

    def _report(self, node: yaml.Node, path: str, text: str) -> None:
        self._problems.append(problem_at(node, path, text))
