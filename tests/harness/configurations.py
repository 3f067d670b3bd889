"""Texts of configuration files, and what tests do with them (fixtures of tests/proxy/config/conftest.py)."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.schema import Config

POLICY = "policies: [{name: all, action: accept}]\n"

Load = Callable[[str], Config]
"""Reads a text as the daemon reads its file."""
Problems = Callable[[str], list[str]]
"""What is wrong with a text, without the name of its file."""


def policy(keys: str) -> str:
    return f"policies:\n  - {{name: p, action: accept, {keys}}}\n"


def entries(*lines: str) -> str:
    return "session-helpers:\n" + "".join(f"  - {{{line}}}\n" for line in lines) + POLICY
