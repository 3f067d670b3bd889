"""Variables of the environment in values, for containers: `${NAME}` and `${NAME:-default}`, as a shell has them.

`$${` stands for `${` itself. A key is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{).)*))?", re.DOTALL)
"""A default is text: another variable in it would end at the first brace."""


def expanded(text: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text with each variable replaced, and what is wrong with those that cannot be."""
    wrong: list[str] = []

    def value(found: re.Match[str]) -> str:
        whole: str = found[0]
        if whole == "$${":
            return "${"
        inside = _INSIDE.fullmatch(found[1])
        if inside is None or not found[2]:
            wrong.append(f"{whole} is no variable; expected ${{NAME}} or ${{NAME:-default}}, or $${{ for ${{ itself")
            return whole
        name: str = inside[1]
        default: str | None = inside[2]
        # As in a shell, what is empty counts as not set where there is a default.
        given = environment.get(name)
        if given is None and default is None:
            wrong.append(f"the environment has no {name}; set it, or write ${{{name}:-default}}")
            return whole
        return given or default or ""

    return _VARIABLE.sub(value, text), wrong
