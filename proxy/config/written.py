"""How the file writes what the code holds as plain types: a length of time with its unit, one element of a list without
brackets, a network by its name.

Helpers declare their options with types alone, and know nothing of files. `options_model` makes of them what pydantic
reads: the same keys, defaults and texts, with the forms that a file may have.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from functools import reduce
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Unit
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    PlainValidator,
    WithJsonSchema,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from protocols.contract import addresses as contract
from protocols.contract.engine import Options
from proxy.config.networks import parse_networks, parse_networks_or_words
from proxy.config.values import one_or_many, parse_host, parse_network, parse_seconds

TEXT: dict[str, Any] = {"type": "string"}


def many(item: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema for one item or a list of items."""
    return {"anyOf": [item, {"type": "array", "items": item}]}


def _time(*bounds: Gt | Ge | Le) -> dict[str, Any]:
    """The JSON Schema for a length of time within these bounds."""
    schema: dict[str, Any] = {
        "type": ["number", "string"],
        "format": "duration",
        "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$",
    }
    for bound in bounds:
        match bound:
            case Gt(gt):
                schema["exclusiveMinimum"] = gt
            case Ge(ge):
                schema["minimum"] = ge
            case Le(le):
                schema["maximum"] = le
    return schema


_WEEK, _YEAR = Le(7 * 86_400), Le(366 * 86_400)

Seconds = Annotated[float, Gt(0), _WEEK, BeforeValidator(parse_seconds), WithJsonSchema(_time(Gt(0), _WEEK))]
"""A length of time up to a week, in seconds or with a unit: 90, 90s, 3m, 2h, 1d."""
LongSeconds = Annotated[float, Gt(0), _YEAR, BeforeValidator(parse_seconds), WithJsonSchema(_time(Gt(0), _YEAR))]
"""A length of time up to a year."""
Host = Annotated[IPv4Address | IPv6Address, PlainValidator(parse_host), WithJsonSchema(TEXT)]

Network = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_network), WithJsonSchema(TEXT)]


def _elements(value: Any) -> Any:
    """A single value stands for a list of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _list(parse: Any, before: Any) -> tuple[Any, ...]:
    """How a list is read whose elements each stand for one or more values, as `parse` reads them."""

    def schema(_: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        elements = core_schema.with_info_plain_validator_function(parse)
        joined = core_schema.tuple_variable_schema(elements)
        return core_schema.no_info_after_validator_function(lambda parts: tuple(chain.from_iterable(parts)), joined)

    return GetPydanticSchema(schema), BeforeValidator(before), WithJsonSchema(many(TEXT))


Networks = Annotated[(tuple[contract.Network, ...], *_list(parse_networks, one_or_many))]
"""A list of networks, each by its address or by a name of `networks`. `any` is the empty list."""

Secret = Annotated[str, WithJsonSchema({**TEXT, "writeOnly": True})]
"""A text that is never shown."""

_NETWORK = {IPv4Network, IPv6Network}
_HOST = {IPv4Address, IPv6Address}


def _as_written(kind: Any) -> Any:
    """The type of an option, as pydantic is to read it from a file."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base, *metadata = parts
        if Unit("s") in metadata:
            bounds = [one for one in metadata if isinstance(one, Gt | Ge | Le)]
            return Annotated[(base, *bounds, BeforeValidator(parse_seconds), WithJsonSchema(_time(*bounds)))]
        return Annotated[(_as_written(base), *metadata)]
    if origin in (Union, UnionType):
        return _choice(parts)
    if origin is tuple and set(get_args(parts[0])) >= _NETWORK:
        parse = parse_networks_or_words if str in get_args(parts[0]) else parse_networks
        return Annotated[(kind, *_list(parse, _elements))]
    if origin is tuple:
        return Annotated[origin[_as_written(parts[0]), ...], BeforeValidator(_elements)]
    if origin is not None and origin is not Literal:
        return origin[tuple(_as_written(part) for part in parts)]
    return kind


def _choice(kinds: tuple[Any, ...]) -> Any:
    """The type of an option that may be one thing or another. Hosts of both IP versions are one thing, and so are
    networks."""
    ours = [one for one, both in ((Host, _HOST), (Network, _NETWORK)) if set(kinds) >= both]
    return reduce(or_, ours + [_as_written(kind) for kind in kinds if kind not in _HOST | _NETWORK])


def options_model(options: type[Options], config: ConfigDict) -> Any:
    """The type by which pydantic reads the options of a helper. What is read is an instance of `options`."""
    hints, texts = get_type_hints(options, include_extras=True), _descriptions(options)
    fields: dict[str, Any] = {}
    for one in dataclasses.fields(options):
        made = one.default_factory
        default = (
            Field(default=one.default, description=texts[one.name])
            if made is dataclasses.MISSING
            else Field(default_factory=made, description=texts[one.name])
        )
        fields[one.name] = (_as_written(hints[one.name]), default)
    model = create_model(options.__name__, __config__=config, __doc__=options.__doc__, **fields)

    def built(read: Any) -> Options:
        return options(**{name: getattr(read, name) for name in fields})

    return Annotated[model, AfterValidator(built)]


def _descriptions(options: type[Options]) -> dict[str, str]:
    """The string under each field of a dataclass, or what its metadata says."""
    texts: dict[str, str] = {}
    for kind in reversed(options.__mro__):
        if not dataclasses.is_dataclass(kind):
            continue
        (found,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(found, ast.ClassDef)
        for field, text in zip(found.body, found.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as words)):
                    texts[name] = inspect.cleandoc(words)
    for one in dataclasses.fields(options):
        texts.setdefault(one.name, one.metadata.get("description", ""))
    return texts
