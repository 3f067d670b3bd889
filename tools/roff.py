"""Writes the language of manual pages (man(7)). Text between backquotes is bold, as what one types is."""

from __future__ import annotations

import re

_SPECIAL = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"})
_TYPED = re.compile(r"`([^`]+)`")


class Page:
    """One manual page."""

    def __init__(self, name: str, section: int, says: str) -> None:
        self._lines = [f'.TH "{name.upper()}" {section} "" "pinhole" ""', ".SH NAME"]
        self._lines.append(f"{_escaped(name)} \\- {_escaped(says)}")

    def section(self, title: str) -> None:
        """Begin a section."""
        self._lines.append(f'.SH "{title}"')

    def subsection(self, title: str) -> None:
        """Begin a part of a section."""
        self._lines.append(f'.SS "{_escaped(title)}"')

    def paragraph(self, text: str) -> None:
        """A paragraph of prose."""
        self._lines += [".PP", _line(text)]

    def prose(self, text: str) -> None:
        """Paragraphs with empty lines between them. One that begins with `\\b` keeps its lines, as in click's help."""
        for part in text.split("\n\n"):
            if part.startswith("\b"):
                self.verbatim(part[1:].strip("\n"))
            elif part.strip():
                self.paragraph(joined(part))

    def entry(self, tag: str, text: str) -> None:
        """A term and what it means."""
        self._lines += [".TP", _line(tag), _line(text or "")]

    def verbatim(self, text: str) -> None:
        """Lines as they are."""
        self._lines += [".PP", ".RS 4", ".nf", *map(_line, text.splitlines()), ".fi", ".RE"]

    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines) + "\n"


def joined(*texts: str) -> str:
    """Texts as one line."""
    return " ".join(" ".join(texts).split())


def _line(text: str) -> str:
    """A line of text, in which a period or an apostrophe at its beginning is no request."""
    shown = _TYPED.sub(lambda found: f"\\fB{found[1]}\\fR", _escaped(text))
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


def _escaped(text: str) -> str:
    return text.translate(_SPECIAL)
