"""The text of a FortiOS configuration as a tree: `config`, `edit`, `set` and what stands below them.

    config firewall address             block("firewall address")
        edit "lan"                          .edits["lan"]
            set subnet 10.1.0.0/16              .settings["subnet"] == ["10.1.0.0/16"]
        next
    end

It reads what `show`, `show full-configuration` and a backup print, and scripts of commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.errors import PinholeError

MAX_DEPTH = 32

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|(\n)|([^\s"\']+)', re.DOTALL)
"""A quoted text, which may have several lines, the end of a line, or a word."""


@dataclass(slots=True)
class Block:
    """What stands between `config` or `edit` and its end."""

    settings: dict[str, list[str]] = field(default_factory=dict)
    edits: dict[str, Block] = field(default_factory=dict)
    """The entries of a table by their names, in the order of the table."""
    blocks: dict[str, Block] = field(default_factory=dict)
    """What stands below further `config`."""
    deleted: list[str] = field(default_factory=list)
    """Entries that the text deletes though it has not made them."""

    def block(self, name: str) -> Block:
        """The block of this name; an empty one where there is none."""
        return self.blocks.get(name) or Block()

    def words(self, key: str) -> list[str]:
        """The values of a setting."""
        return self.settings.get(key, [])

    def word(self, key: str, default: str = "") -> str:
        """The first value of a setting."""
        return next(iter(self.words(key)), default)

    def is_on(self, key: str) -> bool:
        """Whether a setting is `enable`."""
        return self.word(key) == "enable"


def read(text: str) -> Block:
    """The whole text as a tree. Raises PinholeError when it is no configuration of FortiOS."""
    root = Block()
    open_ones: list[tuple[str, Block]] = [("", root)]
    for number, (command, *words) in _lines(text):
        kind, here = open_ones[-1]
        match command:
            case "config" if words:
                if len(open_ones) > MAX_DEPTH:
                    raise PinholeError(f"line {number}: nested too deeply")
                open_ones.append(("config", here.blocks.setdefault(" ".join(words), Block())))
            case "edit" if words and kind == "config":
                open_ones.append(("edit", here.edits.setdefault(words[0], Block())))
            case "next" if kind == "edit":
                open_ones.pop()
            case "end" if kind:
                # The last entry of a table may lack its `next`.
                while open_ones.pop()[0] == "edit":
                    pass
            case "end" | "next":
                raise PinholeError(f"line {number}: `{command}` without a `config` before it")
            case _:
                _apply(here, command, words)
    if root.blocks:
        return root
    raise PinholeError("this is no configuration of FortiOS: it has no `config ...`")


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of each line, with its number. A line that begins with # is a remark."""
    words: list[str] = []
    number = began = 1
    for found in _TOKEN.finditer(text + "\n"):
        double, single, is_end, word = found[1], found[2], found[3], found[4]
        if is_end is not None:
            if words and not words[0].startswith("#"):
                yield began, words
            words = []
            number += 1
            began = number
            continue
        if double is not None:
            words.append(re.sub(r"\\(.)", r"\1", double))
        else:
            words.append(single if single is not None else word)
        number += found[0].count("\n")


def _apply(here: Block, command: str, words: list[str]) -> None:
    """Carry out a command within a block. Others do not change what is configured."""
    match command, words:
        case "set", [key, *values]:
            here.settings[key] = values
        case "append", [key, *values]:
            here.settings[key] = [*here.words(key), *values]
        case "unset", [key]:
            here.settings.pop(key, None)
        case "unselect", [key, *values]:
            here.settings[key] = [value for value in here.words(key) if value not in values]
        case "delete", [name]:
            if here.edits.pop(name, None) is None:
                here.deleted.append(name)
        case "purge", []:
            here.edits.clear()
        case "rename", [old, "to", new]:
            here.edits = {new if name == old else name: entry for name, entry in here.edits.items()}
        case "move", [name, ("before" | "after") as where, other] if {name, other} <= here.edits.keys():
            moved = here.edits.pop(name)
            order = list(here.edits)
            order.insert(order.index(other) + (where == "after"), name)
            here.edits = {each: moved if each == name else here.edits[each] for each in order}
