"""Puts what pydantic found in a configuration into words for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic_core import ErrorDetails

from proxy.config import checks, marks, schema
from proxy.config.schema import json_schema
from proxy.config.values import suggest


def problems(document: marks.Document, details: Sequence[ErrorDetails]) -> Iterator[marks.Problem]:
    """The problems that pydantic found, in words for people.

    Where a key may be one thing or another, pydantic reports what is wrong with each of them, under locations with
    names of types in between. Those are one problem, at the place where the attempt that went deepest ended.
    """
    choices: dict[marks.Location, list[tuple[marks.Location, str]]] = {}
    for detail in details:
        location = detail["loc"]
        place = document.existing(location)
        if place == location or detail["type"] == "missing":
            yield _problem(document, detail)
        else:
            common = next(place[:n] for n in range(len(place) + 1) if place[: n + 1] != location[: n + 1])
            choices.setdefault(common, []).append((place, _words(detail)))
    for attempts in choices.values():
        deepest = max((place for place, _ in attempts), key=len)
        texts = dict.fromkeys(text for place, text in attempts if place == deepest)
        yield document.problem(deepest, ", or ".join(texts))


def _problem(document: marks.Document, detail: ErrorDetails) -> marks.Problem:
    """One problem, at its key or its value."""
    location = detail["loc"]
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return document.problem(location, _unknown_key(location), at_key=True)
        case "value_error":
            # Options that check themselves report `key: what is wrong`.
            text = _words(detail)
            key, _, rest = text.partition(": ")
            if rest and document.existing((*location, key)) == (*location, key):
                return document.problem((*location, key), rest)
    return document.problem(location, _words(detail))


def _words(detail: ErrorDetails) -> str:
    """What is wrong, without the place."""
    given = detail["input"]
    match detail["type"]:
        case "missing":
            return "this key is missing"
        case "model_type" | "dict_type":
            return _keys_wanted(detail["loc"], given)
        case "tuple_type":
            return "expected a list"
        case "pinhole":
            return detail["msg"]
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("Input is ")
    if text == detail["msg"] or detail["type"] == "value_error":
        return text.removeprefix("Value error, ")
    return f"must be {text}, not {given!r}" if isinstance(given, str | int | float) else f"must be {text}"


def _unknown_key(location: marks.Location) -> str:
    """The message for a key that the schema does not have."""
    word = str(location[-1])
    if "${" in word:
        return "a variable stands in a value, not in a key"
    if len(location) > 1 and location[-2] == "options":
        return checks.no_such_helper(word, schema.REGISTRY)
    known = _keys_at(location[:-1])
    return f"unknown key{suggest(word, known) or '; known here: ' + ', '.join(known)}"


def _keys_wanted(location: marks.Location, given: Any) -> str:
    """The message for something else where keys and values belong."""
    known = _keys_at(location)
    words = ["expected keys and values", *([f"known here: {', '.join(known)}"] if known else [])]
    if isinstance(given, list):
        words += [f"a list belongs below `{key}`" for key, below in known.items() if below.get("type") == "array"]
    return "; ".join(words)


def _keys_at(location: marks.Location) -> dict[str, Any]:
    """The keys that the schema has at a place, and what it says of each. Empty: all keys are names there."""
    node = _schema()
    for step in location:
        node = _with_keys(node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {}))
    found: dict[str, Any] = node.get("properties", {})
    return found


def _with_keys(node: dict[str, Any]) -> dict[str, Any]:
    """What a part of the schema stands for: what it refers to, and where it may be one thing or another, the one with
    keys."""
    if "$ref" in node:
        return _with_keys(_schema()["$defs"][node["$ref"].rpartition("/")[2]])
    choices = map(_with_keys, node.get("anyOf", ()))
    return next((choice for choice in choices if "properties" in choice), node)


@cache
def _schema() -> dict[str, Any]:
    """The schema. It takes longer to make than a configuration to read, and many keys may be wrong."""
    return json_schema()
