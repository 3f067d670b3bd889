"""Text that is safe on a terminal, whichever peer or file it came from.

Escape sequences (ESC, and C1 for terminals that take eight bits) move the cursor, change titles and answer as if the
operator had typed; marks of direction show a line in another order than it has; a line feed begins a line that we did
not write.
"""

from __future__ import annotations

import json
import sys


def printable(text: str, keep: str = "") -> str:
    """The text with `\\x1b`, `\\u202e` and the like in place of all characters that do not print. `keep` lists
    characters that stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escaped(char) for char in text)


def printable_json(document: str) -> str:
    """A JSON document, laid out over lines, with such escapes as JSON knows. A reader gets the same values."""
    if document.replace("\n", "").isprintable():
        return document
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in document)


def say(text: str) -> None:
    """Tell the operator on standard error."""
    shown = printable(text, keep="\n")
    print(f"pinhole: {shown}", file=sys.stderr, flush=True)


def _escaped(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
