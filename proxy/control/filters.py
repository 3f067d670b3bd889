"""Filters of lists: parameters of the query that say which rows are wanted. They follow from the fields of the rows.

    helper=sip  policy=!lan  client=192.168.1.0/24  address=198.51.100.2:5060  state=relaying
    older=3m  younger=90  text=alice  limit=20

A value that begins with `!` leaves out what it names. A word that ends in `*` stands for all that begin so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from protocols.contract.addresses import Network
from proxy.control.addresses import place
from proxy.control.errors import Wrong
from proxy.control.parameters import Parameter, Type
from proxy.control.shapes import Kind, Row, Shape

Test = Callable[[Row], bool]

_NOT = "A value that begins with `!` leaves out what it names"


def parameters_of(shape: Shape) -> tuple[Parameter, ...]:
    """The filters of a list of such rows."""
    found = []
    for name, field in shape.fields.items():
        if field.kind is Kind.ENDPOINT:
            says = f"Only with this `{name}`: an address, ADDRESS:PORT or a network. {_NOT}"
            found.append(Parameter(name, Type.PLACE, says))
        elif field.kind is Kind.WORD:
            found.append(Parameter(name, Type.TEXT, f"Only with this `{name}`. {_NOT}"))
    if _endpoints(shape):
        says = f"Only with this address, ADDRESS:PORT or network in any field. {_NOT}"
        found.append(Parameter("address", Type.PLACE, says))
    if "age_seconds" in shape.fields:
        found.append(Parameter("older", Type.SECONDS, "Only what is older than this time, as 90, 3m, 2h or 1d"))
        found.append(Parameter("younger", Type.SECONDS, "Only what is younger than this time"))
    found.append(Parameter("text", Type.TEXT, f"Only with this text in any field. {_NOT}"))
    found.append(Parameter("limit", Type.INTEGER, "At most so many rows"))
    return tuple(found)


def matcher(shape: Shape, query: Mapping[str, Any]) -> Test:
    """Tells whether the filters of the query let a row through. Raises Wrong when a filter cannot be read."""
    tests = [_test(shape, name, query[name]) for name in query.keys() & _names(shape)]
    return lambda row: all(test(row) for test in tests)


def _names(shape: Shape) -> frozenset[str]:
    return frozenset(one.name for one in parameters_of(shape)) - {"limit"}


def _test(shape: Shape, name: str, value: Any) -> Test:
    if name == "older":
        return lambda row: row["age_seconds"] > value
    if name == "younger":
        return lambda row: row["age_seconds"] < value
    is_negated = value.startswith("!") and value != "!"  # which leaves out nothing, and would let everything through
    value = value[is_negated:]
    test = _positive(shape, name, value)
    return (lambda row: not test(row)) if is_negated else test


def _positive(shape: Shape, name: str, value: str) -> Test:
    if name == "text":
        wanted = value.casefold()
        return lambda row: any(wanted in text.casefold() for text in _texts(row))
    if name == "address":
        names, is_at = _endpoints(shape), _place(name, value)
        return lambda row: any(is_at(row[one]) for one in names)
    if shape.fields[name].kind is Kind.ENDPOINT:
        is_at = _place(name, value)
        return lambda row: is_at(row[name])
    if value.endswith("*"):
        return lambda row: str(row[name]).startswith(value[:-1])
    return lambda row: str(row[name]) == value


def _endpoints(shape: Shape) -> tuple[str, ...]:
    return tuple(name for name, field in shape.fields.items() if field.kind is Kind.ENDPOINT)


def _texts(row: Row) -> Iterator[str]:
    for value in row.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (str(item) for item in value if not isinstance(item, dict))


def _place(name: str, value: str) -> Callable[[str | None], bool]:
    """Tells whether an endpoint, as rows write it, is this address, this address and port, or in this network."""
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        at = place(value)
        if at is None:
            remedy = f"{name} is an address, ADDRESS:PORT, [ADDRESS]:PORT or a network as 192.0.2.0/24"
            raise Wrong(400, "bad_parameter", f"{name}: {value[:64]!r}", remedy) from None
        return lambda text: text is not None and place(text) == at
    return lambda text: text is not None and _is_in(text, network)


def _is_in(text: str, network: Network) -> bool:
    at = place(text)
    return at is not None and at.host in network
