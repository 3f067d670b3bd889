"""Reads what `nft --json list ruleset` says (libnftables-json(5)) into `rulesets` (pure).

It never fails: whatever has another form than the ones below is something that cannot be known beforehand (Key.OTHER).
How nft shows things, which is not how they were written: a mask of leading ones as a prefix, `missing` as false, `eq 0`
of an interface as "0", states as a list or as a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from proxy.doctor.nft_expressions import UNKNOWN, bitwise, compared, flags_of, implied_by, key_of, text_of, value_of
from proxy.doctor.nft_words import words
from proxy.doctor.rulesets import (
    ALL_BITS,
    Action,
    Chain,
    Choice,
    Jump,
    Key,
    OneOf,
    Question,
    Rule,
    SetMark,
    SetSegment,
    Test,
    Translation,
    Untrack,
    Verdict,
)

_VERDICTS = {
    "accept": Verdict.ACCEPT,
    "drop": Verdict.DROP,
    "reject": Verdict.REJECT,
    "return": Verdict.RETURN,
    "queue": Verdict.QUEUE,
    "tproxy": Verdict.ACCEPT,
}
_SILENT = frozenset({"counter", "log", "comment", "last", "ct helper", "ct timeout", "ct expectation", "flow"})
"""Statements that decide nothing."""
_LIMITS = ("limit", "quota", "ct count")
"""Statements that fit as long as there is not too much, or (`over`) only from then on."""
_HOOKS = frozenset({"prerouting", "input", "forward", "output", "postrouting"})
_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}

_Path = tuple[str, str, str]


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class _Reader:
    """Turns the objects of a ruleset into chains."""

    def __init__(self, objects: Sequence[object], ours: str) -> None:
        self._objects = _dicts(list(objects))
        self._ours = ours
        self._sets: dict[_Path, list[Any]] = {}
        for kind in ("set", "map"):
            for item in self._of(kind):
                elements = item.get("elem")
                self._sets[_path(item, "name")] = elements if isinstance(elements, list) else []

    def _of(self, kind: str) -> Iterator[dict[str, Any]]:
        return (item[kind] for item in self._objects if isinstance(item.get(kind), dict))

    def chains(self) -> Iterator[Chain]:
        """All chains whose packets are IP."""
        ages = {
            (text_of(item.get("family")), text_of(item.get("name"))): item.get("handle") for item in self._of("table")
        }
        rules: dict[_Path, list[Rule]] = {}
        for item in self._of("rule"):
            rules.setdefault(_path(item, "chain"), []).append(self._rule(item))
        for item in self._of("chain"):
            family, table, name = _path(item, "name")
            age, hook = ages.get((family, table)), text_of(item.get("hook"))
            if family not in ("ip", "ip6", "inet"):
                continue  # bridge, arp, netdev: what is dropped there is not dropped for IP
            yield Chain(
                tool="nft",
                family=family,
                table=table,
                name=name,
                rules=tuple(rules.get((family, table, name), ())),
                hook=hook if hook in _HOOKS else "",
                kind=text_of(item.get("type")) or "filter",
                priority=_priority(item.get("prio")),
                policy=Verdict.DROP if item.get("policy") == "drop" else Verdict.ACCEPT,
                age=age if isinstance(age, int) else None,
                is_ours=family == "inet" and table == self._ours,
            )

    def _rule(self, rule: dict[str, Any]) -> Rule:
        path = _path(rule, "chain")
        questions: list[Question] = []
        actions: list[Action] = []
        statements = _dicts(rule.get("expr"))
        for statement in statements:
            for name, body in statement.items():
                if name == "match" and isinstance(body, dict):
                    questions += implied_by(body.get("left"))
                    questions.append(self._match(path, body))
                elif name == "vmap" and isinstance(body, dict):
                    questions += implied_by(body.get("key"))
                    actions.append(self._choice(path, body))
                elif name in _LIMITS:
                    questions.append(self._limit(path, name, body))
                elif name == "set" and isinstance(body, dict):
                    questions += [
                        self._limit(path, kind, item[kind])
                        for item in _dicts(body.get("stmt"))
                        for kind in _LIMITS
                        if kind in item
                    ]
                elif (action := _action(name, body)) is not None:
                    actions.append(action)
                elif name == "mangle" and isinstance(body, dict):
                    actions += _mangle(body)
                elif name not in _SILENT and name not in ("dup", "fwd"):
                    questions.append(UNKNOWN)
        return Rule(words(statements), tuple(questions), tuple(actions))

    def _limit(self, path: _Path, kind: str, limit: object) -> Question:
        """A question about a limit, which is written in the rule, or names one of the rule's table."""
        if isinstance(limit, str):
            named = (item for item in self._of(kind) if _path(item, "name") == (path[0], path[1], limit))
            limit = next(named, None)
        return Test(Key.WITHIN_RATE, negated=limit.get("inv") is True) if isinstance(limit, dict) else UNKNOWN

    # -- matches

    def _match(self, path: _Path, match: dict[str, Any]) -> Question:
        operator = text_of(match.get("op"))
        return self._question(path, match.get("left"), match.get("right"), operator)

    def _question(self, path: _Path, left: object, right: object, operator: str) -> Question:
        negated = operator == "!="
        values = self._values(path, right)
        if isinstance(left, dict) and isinstance(left.get("concat"), list):
            alternatives = tuple(self._combination(path, left["concat"], value) for value in values)
            return OneOf(alternatives, negated)
        key, mask = key_of(left)
        if key is Key.HANDSHAKE:
            return flags_of(left, right, negated, operator)
        if operator in ("<", ">", "<=", ">="):
            return compared(key, values, operator)
        if key is Key.WAY_BACK:
            # `missing`, or no interface.
            is_missing = values[:1] in ([False], ["0"], [0])
            return Test(key, negated=negated != is_missing)
        if key in (Key.TRANSPARENT, Key.WILDCARD):
            return Test(key, negated=negated != (values[:1] == [0]))
        found = [item for value in values if (item := value_of(key, value)) is not None]
        if key is Key.OTHER or (values and not found):
            return Test(Key.OTHER, negated=negated)
        return Test(key, tuple(found), negated, mask)

    def _combination(self, path: _Path, keys: list[Any], value: object) -> tuple[Question, ...]:
        parts = value.get("concat") if isinstance(value, dict) else None
        if not isinstance(parts, list) or len(parts) != len(keys):
            return (UNKNOWN,)
        return tuple(self._question(path, key, part, "==") for key, part in zip(keys, parts, strict=True))

    def _values(self, path: _Path, right: object) -> list[Any]:
        """The elements on the right side of a match: a set, a named set, a list, or a single value."""
        if isinstance(right, str) and right.startswith("@"):
            right = self._sets.get((path[0], path[1], right[1:]), [])
        elif isinstance(right, dict) and "set" in right:
            right = right["set"]
            if isinstance(right, str):
                return self._values(path, right)
        if not isinstance(right, list):
            right = [right]
        return [_plain(item) for item in right]

    def _choice(self, path: _Path, vmap: dict[str, Any]) -> Choice:
        cases = []
        data = vmap.get("data")
        name = data[1:] if isinstance(data, str) and data.startswith("@") else None
        pairs = (
            self._sets.get((path[0], path[1], name), []) if name else data.get("set") if isinstance(data, dict) else []
        )
        for pair in pairs if isinstance(pairs, list) else []:
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)):
                continue
            question = self._question(path, vmap.get("key"), {"set": [pair[0]]}, "in")
            for verb, body in pair[1].items():
                if (action := _action(verb, body)) is not None:
                    cases.append(((question,), action))
        return Choice(tuple(cases))


def _path(item: dict[str, Any], name: str) -> _Path:
    return text_of(item.get("family")), text_of(item.get("table")), text_of(item.get(name))


def _priority(value: object) -> int:
    if isinstance(value, int):
        return value
    return _PRIORITIES.get(text_of(value), 0)


def _plain(item: object) -> object:
    """An element of a set, without its time-out, counter and comment."""
    if isinstance(item, dict) and isinstance(item.get("elem"), dict):
        return item["elem"].get("val")
    return item


# -- actions -----------------------------------------------------------------------------------------------------------


def _action(name: str, body: object) -> Action | None:
    if name in _VERDICTS:
        return _VERDICTS[name]
    if name in ("jump", "goto") and isinstance(body, dict):
        return Jump(text_of(body.get("target")), name == "goto")
    if name in ("masquerade", "snat"):
        return Translation(is_of_source=True)
    if name in ("dnat", "redirect"):
        return Translation(is_of_source=False)
    if name == "notrack":
        return Untrack()
    return None


def _mangle(body: dict[str, Any]) -> list[Action]:
    match body.get("key"):
        case {"meta": {"key": "mark"}}:
            return [_new_mark(body.get("value"))]
        case {"tcp option": {"name": "maxseg"}}:
            size = body.get("value")
            return [SetSegment(size if isinstance(size, int) else None)]
    return []


def _new_mark(value: object) -> SetMark:
    match value:
        case int():
            return SetMark(value)
        case {"ct": _}:
            return SetMark(None, is_restored=True)
        case dict() if (operation := bitwise(value)) is not None and isinstance(operation[2], int):
            operator, inner, bits = operation
            base = SetMark(0, ALL_BITS) if inner == {"meta": {"key": "mark"}} else _new_mark(inner)
            if base.sets is None:
                # The bits that the operator fixes are known, whatever the rest of the expression is. More is not
                # needed.
                return SetMark(None, is_restored=base.is_restored)
            if operator == "&":
                return SetMark(base.sets & bits, base.keeps & bits)
            if operator == "|":
                return SetMark((base.sets & ~bits) | bits, base.keeps & ~bits & ALL_BITS)
            return SetMark(base.sets ^ bits, base.keeps)
        case {"|": [_, _]}:
            return SetMark(None, is_restored="ct" in json.dumps(value))
    return SetMark(None)


def read(objects: Sequence[object], ours: str) -> list[Chain]:
    """The chains in `objects`, the list under "nftables". `ours` is the name of our own table."""
    return list(_Reader(objects, ours).chains())
