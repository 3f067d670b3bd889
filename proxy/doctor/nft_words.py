"""A rule of nft for people, much as nft writes it, from what `nft --json` says (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.doctor.nft_expressions import bitwise


def words(statements: list[dict[str, Any]]) -> str:
    """A rule for people, much as nft writes it."""
    return " ".join(word for statement in statements for word in _statement(statement))[:300]


def _statement(statement: dict[str, Any]) -> Iterator[str]:
    for name, body in statement.items():
        match name, body:
            case "match", {"left": left, "right": right}:
                operator = body.get("op")
                yield f"{_said(left)}{' != ' if operator == '!=' else ' '}{_said(right)}"
            case "vmap", {"key": key, "data": data}:
                yield f"{_said(key)} vmap {_said(data)}"
            case "mangle", {"key": key, "value": value}:
                yield f"{_said(key)} set {_said(value)}"
            case (("jump" | "goto"), {"target": target}):
                yield f"{name} {target}"
            case (("counter" | "log" | "comment"), _):
                continue
            case _:
                yield name


def _said(value: object) -> str:
    match value:
        case {"meta": {"key": "mark"}}:
            return "meta mark"
        case {"meta": {"key": key}}:
            return str(key)
        case {"payload": {"protocol": protocol, "field": name}}:
            return f"{protocol} {name}"
        case {"ct": {"key": key}}:
            return f"ct {key}"
        case {"fib": {"result": result, "flags": list(flags)}}:
            return f"fib {' . '.join(map(str, flags))} {result}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address:#x}/{length}" if isinstance(address, int) else f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case {"set": list(items)}:
            return f"{{ {', '.join(_said(item) for item in items[:8])}{', ...' if len(items) > 8 else ''} }}"
        case {"concat": list(items)}:
            return " . ".join(_said(item) for item in items)
        case dict() if (parts := bitwise(value)) is not None:
            return f"{_said(parts[1])} {parts[0]} {_said(parts[2])}"
        case {"socket": {"key": key}}:
            return f"socket {key}"
        case {"tcp option": {"name": name}}:
            return f"tcp option {name} size"
        case {"rt": {"key": key}}:
            return f"rt {key}"
        case {"jump": {"target": target}}:
            return f"jump {target}"
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case [left, dict() as verdict]:
            return f"{_said(left)} : {_said(verdict)}"
        case list():
            return ",".join(_said(item) for item in value[:8])
        case dict():
            return " ".join(map(str, value))
        case False:
            return "missing"
        case True:
            return "exists"
    return str(value)
