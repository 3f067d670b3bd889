"""The description of the control socket as OpenAPI 3.1, generated from the table of routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from proxy.control.errors import ERROR
from proxy.control.routes import Answer, Listing, Right, Route, Single, Stream, Text
from proxy.control.shapes import Row, Shape

_JSON = "application/json"


def describe(routes: Iterable[Route], version: str) -> Row:
    """The description of these routes, without those that are old."""
    current = [route for route in routes if not route.is_old]
    shapes = {ERROR.name: ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in current:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        shapes |= {shape.name: shape for shape in _shapes(route.answer)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pinhole",
            "version": version,
            "description": (
                "What pinhole's control socket answers: HTTP over a UNIX socket. Addresses are HOST:PORT or "
                "[HOST]:PORT, times RFC 3339 in UTC, lengths of time seconds, and amounts bytes. Lists are filtered by "
                "the fields of their rows."
            ),
        },
        "paths": paths,
        "components": {"schemas": {name: shape.schema for name, shape in sorted(shapes.items())}},
    }


def _operation(route: Route) -> Row:
    failures = {*route.may_fail, *((400,) if route.all_parameters or not isinstance(route.answer, Text) else ()), 403}
    may = "Who may look may ask this." if route.right is Right.LOOK else "Only who may change may ask this."
    return {
        "summary": route.summary,
        "description": may,
        "operationId": route.name,
        "parameters": [one.description for one in route.all_parameters],
        "responses": {
            "200": {"description": "The answer", "content": _content(route.answer)},
            **{str(status): _failure(status, route.answer) for status in sorted(failures)},
        },
    }


def _failure(status: int, answer: Answer) -> Row:
    """What a refusal looks like. A page may also say by its status that something is wrong."""
    is_page = isinstance(answer, Text) and status >= 500
    content = _content(answer) if is_page else {_JSON: {"schema": ERROR.reference}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _content(answer: Answer) -> Row:
    match answer:
        case Listing(name, shape):
            rows = {"type": "array", "items": shape.reference}
            return {_JSON: {"schema": {"type": "object", "properties": {name: rows}, "required": [name]}}}
        case Single(shape):
            return {_JSON: {"schema": {"type": "object"} if shape is None else shape.reference}}
        case Stream(shape):
            says = "Server-sent events; the data of each is an object of JSON"
            return {"text/event-stream": {"schema": {"type": "string", "description": says}}}
        case Text(content_type):
            kind = content_type.partition(";")[0]
            return {kind: {"schema": {"type": "object" if kind == _JSON else "string"}}}


def _shapes(answer: Answer) -> Iterator[Shape]:
    """The shapes that an answer refers to."""
    if isinstance(answer, Text) or answer.shape is None:
        return
    yield answer.shape
    yield from answer.shape.within
