"""What values the fields of a line may have, as JSON Schema, and whether a value is such a one.

The schemas are for others, who check them with a library of theirs. Here they are asked of every line that tests see,
so `question` answers in a microsecond; it knows the words of JSON Schema that stand in this module, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
WORD: Schema = {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "integer"}
SECONDS: Schema = {"type": "number", "minimum": 0}
YES: Schema = {"const": True}
HOST: Schema = {"type": "string", "pattern": r"^[0-9.]+$|^[0-9a-f:.]+(%[^ ]+)?$"}
ENDPOINT: Schema = {"type": "string", "pattern": r"^([0-9.]+|\[[0-9a-f:.]+(%[^ \]]+)?\]):[0-9]{1,5}$"}
NETWORK: Schema = {"type": "string", "pattern": r"^[0-9a-f:.]+/[0-9]{1,3}$"}
TRANSPORT: Schema = {"enum": ["tcp", "udp", "gre"]}


def one_of(*words: str) -> Schema:
    """One of these words."""
    return {"enum": list(words)}


def maybe(schema: Schema) -> Schema:
    """Such a value, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """A list of such values."""
    return {"type": "array", "items": schema}


def numbered(schema: Schema) -> Schema:
    """An object with such values, whose names are not ours."""
    return {"type": "object", "additionalProperties": schema}


def parts(**schemas: Schema) -> Schema:
    """An object with these members. One whose name ends in `_` here may be left out."""
    names = {name.rstrip("_"): schema for name, schema in schemas.items()}
    required = [name for name in schemas if not name.endswith("_")]
    return {"type": "object", "properties": names, "required": required, "additionalProperties": False}


Question = Callable[[Any], bool]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def question(schema: Schema) -> Question:
    """The question whether a value is as this schema has it."""
    match schema:
        case {"anyOf": some}:
            any_of = [question(one) for one in some]
            return lambda value: any(ask(value) for ask in any_of)
        case {"enum": words}:
            return lambda value: value in words
        case {"const": only}:
            return lambda value: value is only
        case {"type": "array", "items": items}:
            each = question(items)
            return lambda value: type(value) is list and all(map(each, value))
        case {"type": "object", "properties": properties, "required": required}:
            members = {name: question(one) for name, one in properties.items()}
            return lambda value: (
                type(value) is dict
                and value.keys() >= set(required)
                and all(name in members and members[name](one) for name, one in value.items())
            )
        case {"type": "object", "additionalProperties": others}:
            each = question(others)
            return lambda value: type(value) is dict and all(map(each, value.values()))
        case {"type": "string", "pattern": pattern}:
            search = re.compile(pattern).search
            return lambda value: type(value) is str and search(value) is not None
        case {"type": names, **rest}:
            types = tuple(one for name in ([names] if isinstance(names, str) else names) for one in _TYPES[name])
            least = rest.get("minimum")
            return lambda value: type(value) in types and (least is None or value >= least)
    raise ValueError(f"no such schema here: {schema}")
