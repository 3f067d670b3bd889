"""Networks by their names: what `networks` defines may stand wherever a network is named.

    networks:
      lan: [10.1.0.0/16, "fd01::/48"]
      inside: [lan, 10.9.0.0/24]

While a file is read, the names are in the context of pydantic's validation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from protocols.contract.addresses import Network
from proxy.config.values import parse_network, suggest, wrong

NAME = re.compile(r"(?!any$|none$|deny$|interface$)[A-Za-z][A-Za-z0-9_.-]{0,62}")
"""What networks may be called."""


class Names:
    """The networks that a file names."""

    def __init__(self, definitions: Any) -> None:
        """`definitions` is what the file has under `networks`, whatever that is."""
        given = definitions if isinstance(definitions, dict) else {}
        self._written: Mapping[str, Any] = {name: of for name, of in given.items() if NAME.fullmatch(name)}
        self._read: dict[str, tuple[Network, ...]] = {}
        self._open: list[str] = []

    def __contains__(self, name: object) -> bool:
        return name in self._written

    def of(self, name: str) -> tuple[Network, ...]:
        """The networks of this name. What is wrong with its definition is found where that stands, so here it has none
        of that. Raises PydanticCustomError when the name leads back to itself."""
        if name in self._open:
            raise wrong(f"{name!r} is defined by itself: {' -> '.join([*self._open, name])}")
        if name not in self._read:
            written = self._written[name]
            self._open.append(name)
            try:
                self._read[name] = self._all(written if isinstance(written, list) else [written])
            finally:
                self._open.pop()
        return self._read[name]

    def _all(self, items: list[Any]) -> tuple[Network, ...]:
        found: list[Network] = []
        for item in items:
            if isinstance(item, str) and item in self:
                found += self.of(item)
                continue
            try:
                found.append(parse_network(item))
            except PydanticCustomError:
                continue
        return tuple(dict.fromkeys(found))

    def near(self, word: str) -> str:
        """`; did you mean 'x'?`, if a name is near to this word."""
        return suggest(word, self._written)


def parse_networks(value: Any, info: ValidationInfo) -> tuple[Network, ...]:
    """The networks that one word stands for: a single one, or those of a name."""
    names: Names = (info.context or {}).get("networks") or Names({})
    if isinstance(value, str) and value in names:
        return names.of(value)
    try:
        return (parse_network(value),)
    except PydanticCustomError as error:
        if isinstance(value, str) and re.fullmatch(NAME, value):
            raise wrong(f"{error.message()}, and no name under `networks`{names.near(value)}") from None
        raise


_PREFIX = re.compile(r"[0-9a-fA-F:.]*/[0-9]*")


def parse_networks_or_words(value: Any, info: ValidationInfo) -> tuple[Network | str, ...]:
    """The networks that one word stands for, or the word itself where it is neither a network nor a name of one."""
    try:
        return parse_networks(value, info)
    except PydanticCustomError:
        if not isinstance(value, str) or _PREFIX.fullmatch(value):
            raise
        return (value,)


def parse_network_name(value: Any) -> str:
    """The name that networks get."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise wrong("a name of networks has letters, digits, `_`, `-` and dots, and begins with a letter")
    return value
