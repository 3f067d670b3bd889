"""Shell commands broken into lines of a width, so that they can still be pasted. This module is pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|['"])+""", re.DOTALL)
"""A word as the shell reads it: blanks within quotes are part of it."""
_COMMAND = re.compile(r"['\";<>$]")
_FURTHER = 4
"""How much deeper the further lines of a command stand."""


def broken(commands: str, width: int, indent: int) -> Iterator[str]:
    """Commands, one a line, in lines of this width. A backslash ends a line that goes on; a remark goes on behind a `#`
    of its own, unless it holds a command. A word is never broken."""
    for line in commands.splitlines():
        command, remark = _parted(line)
        if command:
            yield from _lines(command, width, indent, " \\")
        if _COMMAND.search(remark):
            yield " " * indent + f"# {remark.strip()}"
        elif remark:
            yield from _lines(["#", *remark.split()], width, indent, "", "# ")


def _parted(line: str) -> tuple[list[str], str]:
    """The words of a command, and the remark behind its `#`."""
    words: list[str] = []
    for found in _WORD.finditer(line):
        if found[0].startswith("#"):
            return words, line[found.start() + 1 :]
        words.append(found[0])
    return words, ""


def _lines(words: list[str], width: int, indent: int, at_end: str, further: str = "") -> Iterator[str]:
    text, start = "", " " * indent
    for number, word in enumerate(words, 1):
        end = "" if number == len(words) else at_end
        if text and len(start) + len(text) + 1 + len(word) + len(end) > width:
            yield f"{start}{text}{at_end}"
            start = " " * (indent if further else indent + _FURTHER)
            text = f"{further}{word}"
        else:
            text = f"{text} {word}" if text else word
    yield start + text
