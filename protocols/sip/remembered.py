"""The values of SIP header fields as values.py reads them, each equal one once.

The same few values come in every message of a phone. Only a tag or a branch is another one in each call and
transaction: so a value is remembered without it, and what was read is put together with it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from protocols.contract.addresses import Malformed
from protocols.sip.values import (
    REMEMBERED,
    Address,
    Parameter,
    Parameters,
    Via,
    parse_address,
    parse_uri,
    parse_via,
    within,
)
from protocols.toolbox.spans import Span

Read = TypeVar("Read")

_MAX_REMEMBERED_BYTES = 512
_MAX_REMEMBERED_PARAMETERS = 12
"""A value with more parameters than these is read each time, so that what is remembered takes at most some tens of
megabytes, whatever peers send."""

_remembered_address = lru_cache(maxsize=REMEMBERED)(parse_address)
_remembered_uri = lru_cache(maxsize=REMEMBERED)(parse_uri)
_remembered_via = lru_cache(maxsize=REMEMBERED)(parse_via)

# What is another in each call and transaction: without it, a value is one of the few that are remembered.
_TAG = re.compile(rb";tag=([A-Za-z0-9.!%*_+`'~-]++)(?=;|\Z)")
BRANCH = re.compile(rb";branch=([A-Za-z0-9.!%*_+`'~-]++)(?=;|\Z)")
"""The branch of a Via, where it is no part of another parameter."""


def _is_remembered(value: bytes) -> bool:
    return len(value) <= _MAX_REMEMBERED_BYTES and value.count(b";") <= _MAX_REMEMBERED_PARAMETERS


def read_address(value: bytes) -> Address:
    """Read one value of Contact, From, To, Route, Refer-To ..., folded or not (RFC 3261 s.20.10; S16 to S22). Raises
    Malformed with one of the reasons bad_address, bad_host, bad_port, repeated_parameter."""
    if not _is_remembered(value):
        return parse_address(value)
    tag = _TAG.search(value)
    if tag is not None and (rest := _rest(_remembered_address, value, tag)) is not None:
        parameters = _put_back(rest.parameters, b"tag", tag)
        if parameters is not None:
            return Address(*rest[:-1], parameters)
    return _remembered_address(value)


def read_identity(value: bytes) -> tuple[Span, bytes | None]:
    """Where the URI of From or To stands, and the tag, if there is one. Raises Malformed as `read_address` does.
    Nothing else of these values is read here, since each call has two of its own."""
    tag = _TAG.search(value) if _is_remembered(value) else None
    if tag is not None and (rest := _rest(_remembered_address, value, tag)) is not None:
        empty = rest.parameters.get(b"tag")
        if empty is not None and empty.span.end == tag.start(1):  # it is no part of another parameter
            return rest.uri, tag[1]
    address = read_address(value)
    return address.uri, address.parameter(b"tag") or None


def read_uri(value: bytes) -> Address:
    """Read a URI alone, as in a request line: whatever parameters follow are its own (RFC 3261 s.19.1). Raises
    Malformed with one of the reasons bad_uri, bad_host, bad_port, repeated_parameter."""
    return _remembered_uri(value) if _is_remembered(value) else parse_uri(value)


def read_via(value: bytes) -> Via:
    """Read one value of Via, folded or not (RFC 3261 s.20.42; RFC 3581; S22, S38). Raises Malformed with one of the
    reasons bad_via, bad_host, bad_port, bad_received, bad_rport, repeated_parameter."""
    if not _is_remembered(value):
        return parse_via(value)
    branch = BRANCH.search(value)
    if branch is not None and (rest := _rest(_remembered_via, value, branch)) is not None:
        parameters = _put_back(rest.parameters, b"branch", branch)
        if parameters is not None:
            return Via(*rest[:5], parameters, branch[1], *rest[7:])
    return _remembered_via(value)


def _rest(read: Callable[[bytes], Read], value: bytes, taken: re.Match[bytes]) -> Read | None:
    """What the value says if nothing stands behind the `=` of that parameter; None if such a value is malformed."""
    start, end = taken.span(1)
    try:
        return read(value[:start] + value[end:])
    except Malformed:
        return None


def _put_back(parameters: Parameters, name: bytes, taken: re.Match[bytes]) -> Parameters | None:
    """The parameters together with the one that was taken out; None if that one was part of another parameter."""
    start, end = taken.span(1)
    empty = parameters.get(name)
    if empty is None or empty.span != (start, start):
        return None
    full = {**parameters, name: Parameter(taken[1], Span(start, end), Span(taken.start(), end))}
    if end != len(taken.string):
        by = Span(end - start, end - start)
        for other, parameter in parameters.items():
            if parameter.whole.start >= start:  # behind it
                full[other] = Parameter(parameter.value, within(by, parameter.span), within(by, parameter.whole))
    return full
