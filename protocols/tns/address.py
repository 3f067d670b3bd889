"""The address text of Oracle Net: `(ADDRESS=(PROTOCOL=tcp)(HOST=db1)(PORT=1521))` and what may stand around it.

Nested pairs of a name and a value; names in any case, white space between all tokens, values in quotes or not, a
backslash before any character (T19). The text is a peer's: it is cut into tokens in linear time, and nested with a
stack of its own instead of the parser's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from pyparsing import ParseException, ParserElement, Regex, ZeroOrMore

from protocols.contract.addresses import Endpoint, Host, Malformed
from protocols.toolbox.spans import Span

MAX_DEPTH = 32
MAX_ADDRESSES = 16
DEFAULT_PORT = 1521
"""The port of an address that names none (T21)."""

_S = r"[ \t\r\n]*"
_TOKEN = (
    rf"{_S}(?:\({_S}(?P<name>[A-Za-z0-9_.]+){_S}=|(?P<close>\))"
    r'|"(?P<double>(?:[^"\\]|\\.)*)"|' + r"'(?P<single>(?:[^'\\]|\\.)*)'"
    r"|(?P<bare>(?:[^()\\\"' \t\r\n]|\\.)(?:[^()\\]|\\.)*))"
)


def _pattern(text: str) -> ParserElement:
    """A pattern that keeps the positions of the text: it skips no blank, and makes no tab into spaces."""
    return Regex(text, flags=re.DOTALL, as_match=True).leave_whitespace()


_TEXT = (ZeroOrMore(_pattern(_TOKEN)) + _pattern(rf"{_S}\Z")).leave_whitespace().parse_with_tabs()
_EASY = re.compile(
    rf"{_S}(?:(?:tcps?):)?(?://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{{1,5}}))?(?:/[^\s()]*)?{_S}",
    re.ASCII,
)


@dataclass(slots=True)
class Node:
    """One pair `(NAME=value)` or `(NAME=(...)(...))` of a text (T19). Spans are offsets into the text."""

    name: str
    """The key in capitals."""
    start: int
    end: int = 0
    """The place behind the pair's closing parenthesis."""
    value: str | None = None
    """The value without quotes and with its escapes resolved; None if the value is other pairs, or nothing."""
    value_at: Span | None = None
    """Where the value stands, within its quotes."""
    nodes: list[Node] = field(default_factory=list)

    def first(self, name: str) -> Node | None:
        """The first pair of this name right below this one."""
        return next((node for node in self.nodes if node.name == name), None)

    def values(self, *path: str) -> Iterator[str]:
        """The values of all pairs that this path of names leads to."""
        if not path:
            if self.value is not None:
                yield self.value
            return
        for node in self.nodes:
            if node.name == path[0]:
                yield from node.values(*path[1:])


def parse(text: bytes) -> Node:
    """The pairs of a text, in a node without a name. Raises Malformed."""
    try:
        *tokens, _ = _TEXT.parse_string(text.decode("latin-1"), parse_all=True)
    except ParseException as error:
        raise Malformed(f"no address text at byte {error.loc}") from None
    root = Node("", 0, len(text))
    open_nodes = [root]
    for token in tokens:
        node = open_nodes[-1]
        if token["name"] is not None:
            if len(open_nodes) > MAX_DEPTH:
                raise Malformed("nested too deeply")
            below = Node(token["name"].upper(), token.start() + len(token[0]) - len(token[0].lstrip(" \t\r\n")))
            node.nodes.append(below)
            open_nodes.append(below)
        elif token["close"] is not None:
            if node is root:
                raise Malformed(f"a parenthesis too many at byte {token.start('close')}")
            node.end = token.end()
            open_nodes.pop()
        else:
            _give_value(node, root, token)
    if len(open_nodes) > 1:
        raise Malformed("a parenthesis too few")
    return root


def _give_value(node: Node, root: Node, token: re.Match[str]) -> None:
    if node is root or node.value is not None or node.nodes:
        raise Malformed(f"a value out of place at byte {token.start()}")
    (group,) = (name for name in ("double", "single", "bare") if token[name] is not None)
    start, end = token.span(group)
    raw = token[group]
    if group == "bare":
        end -= len(raw) - len(raw.rstrip(" \t\r\n"))
        raw = raw.rstrip(" \t\r\n")
    node.value = re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL)
    node.value_at = Span(start, end)


# -- addresses ---------------------------------------------------------------------------------------------------------


NETWORKED = ("tcp", "tcps")


class Address(NamedTuple):
    """Where a client may be sent. Spans are offsets into the text."""

    host: Host | str
    """An address, or a name as it came; empty when the protocol is none of NETWORKED."""
    port: int
    protocol: str
    """The PROTOCOL in small letters."""
    whole: Span
    """The ADDRESS with its parentheses: what to take out."""
    host_at: Span
    port_at: Span | None
    """Where the port stands. None: the text gives none; then one can be put behind HOST."""
    behind_host: int
    is_easy: bool = False
    """The text is of the form of easy connect, HOST:PORT/SERVICE: a port goes behind a colon, IPv6 into brackets."""


_LISTS = ("DESCRIPTION_LIST", "DESCRIPTION", "ADDRESS_LIST")


def addresses(text: bytes) -> list[Address]:
    """Every ADDRESS of the address part of a redirect, in its order. Raises Malformed, also when there is none."""
    if b"(" not in text:
        return [_easy(text)]
    found = [_address(node) for node in _nodes(parse(text))]
    if not 1 <= len(found) <= MAX_ADDRESSES:
        raise Malformed(f"{len(found)} addresses")
    return found


def _nodes(node: Node) -> Iterator[Node]:
    """Every ADDRESS below this node, also within lists and descriptions. An address elsewhere (CONNECT_DATA) does not
    count (T16)."""
    for below in node.nodes:
        if below.name == "ADDRESS":
            yield below
        elif below.name in _LISTS:
            yield from _nodes(below)


def _address(node: Node) -> Address:
    """What an ADDRESS says (T20, T21). Raises Malformed."""
    for name in ("PROTOCOL", "HOST", "PORT"):
        if sum(below.name == name for below in node.nodes) > 1:  # nobody knows which of the two a client takes
            raise Malformed(f"an ADDRESS with more than one {name}")
    host, port, protocol = node.first("HOST"), node.first("PORT"), node.first("PROTOCOL")
    kind = protocol.value.lower() if protocol is not None and protocol.value else "tcp"
    if kind not in NETWORKED:  # ipc has a KEY instead of a host, beq a PROGRAM
        nowhere = Span(node.start, node.start)
        return Address("", DEFAULT_PORT, kind, Span(node.start, node.end), nowhere, None, node.start)
    if host is None or not host.value or host.value_at is None:
        raise Malformed("an ADDRESS without a HOST")
    return Address(
        _host(host.value),
        DEFAULT_PORT if port is None else _port(port.value),
        kind,
        Span(node.start, node.end),
        host.value_at,
        None if port is None else port.value_at,
        host.end,
    )


def _easy(text: bytes) -> Address:
    """What a text without parentheses says. Raises Malformed."""
    match = _EASY.fullmatch(text.decode("latin-1"))
    if match is None:
        raise Malformed("no address text")
    port = match["port"]
    return Address(
        _host(match["host"]),
        DEFAULT_PORT if port is None else _port(port),
        "tcp",
        Span(0, len(text)),
        Span(*match.span("host")),
        None if port is None else Span(*match.span("port")),
        match.end("host"),
        is_easy=True,
    )


def _host(text: str) -> Host | str:
    """An address, or a name of the shape that names have. Raises Malformed."""
    try:
        host = ip_address(text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text)
        if "%" not in text:  # a zone means something only on the listener's own host
            return host
    except ValueError:
        pass
    if not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?", text, re.ASCII):
        raise Malformed("a HOST that is neither address nor name")
    return text


def _port(text: str | None) -> int:
    if text is None or not re.fullmatch("[0-9]{1,5}", text, re.ASCII) or not 0 < int(text) < 65536:
        raise Malformed("a PORT that is none")
    return int(text)


def point(address: Address, at: Endpoint) -> list[tuple[Span, bytes]]:
    """The changes that make an address name `at` (T17). IPv6 stands bare: in brackets no client knows it."""
    host, port = str(at.host), str(at.port)
    if address.is_easy and at.host.version == 6:
        host = f"[{host}]"
    changes = [(address.host_at, host.encode())]
    if address.port_at is not None:
        changes.append((address.port_at, port.encode()))
    else:
        behind = Span(address.behind_host, address.behind_host)
        changes.append((behind, f":{port}".encode() if address.is_easy else f"(PORT={port})".encode()))
    return sorted(changes)
