"""The catalogue of audit events in configs/README.md is an interface: it must name what the code writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WRITERS = {"write", "Note", "_note", "_violation", "violation"}


def _names() -> Iterator[str]:
    """Event names and rules that stand as literals at the calls that write them, or as `rule` of what is written."""
    for source in sorted([*ROOT.glob("proxy/**/*.py"), *ROOT.glob("protocols/**/*.py")]):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "rule" and isinstance(value, ast.Constant):
                        yield str(value.value)
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in WRITERS and isinstance(node.args[0].value, str):
                yield node.args[0].value


@pytest.mark.parametrize("name", sorted(set(_names())))
def test_catalogue_names_every_event_and_rule(name: str) -> None:
    assert f"`{name}`" in (ROOT / "configs" / "README.md").read_text()


def test_the_events_are_found() -> None:
    assert {"session.opened", "session.closed", "pinhole.opened", "violation", "sip.low_port"} <= set(_names())
