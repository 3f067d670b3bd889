"""Reads what `nft --json list ruleset` says (libnftables-json(5)) into `rulesets` (pure).

It never fails: whatever has another form than the ones below is something that cannot be known beforehand (Key.OTHER).
How nft shows things, which is not how they were written: a mask of leading ones as a prefix, `missing` as false, `eq 0`
of an interface as "0", states as a list or as a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from proxy.config.values import PortRange
from proxy.doctor.rulesets import (
    ALL_BITS,
    Action,
    Addresses,
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
    Value,
    Verdict,
)

UNKNOWN = Test(Key.OTHER)

_META = {
    "iifname": Key.IN,
    "iif": Key.IN,
    "oifname": Key.OUT,
    "oif": Key.OUT,
    "nfproto": Key.FAMILY,
    "protocol": Key.FAMILY,
    "l4proto": Key.PROTOCOL,
    "mark": Key.MARK,
    "pkttype": Key.CAST,
    "skuid": Key.OWNER,
}
_FIELDS = {
    "saddr": Key.SOURCE,
    "daddr": Key.DESTINATION,
    "sport": Key.SOURCE_PORT,
    "dport": Key.DESTINATION_PORT,
    "protocol": Key.PROTOCOL,
    "nexthdr": Key.PROTOCOL,
}
_CT = {"state": Key.STATE, "mark": Key.CONNECTION_MARK}
_FAMILIES = {"ip": "ip", "ipv4": "ip", "ip6": "ip6", "ipv6": "ip6"}
_NUMBERS = {"6": "tcp", "17": "udp"}
_CASTS = {"host": "unicast"}
_PORT_NAMES = {"ftp": 21, "ftp-data": 20, "sip": 5060, "ssh": 22}
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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
        ages = {(_text(item.get("family")), _text(item.get("name"))): item.get("handle") for item in self._of("table")}
        rules: dict[_Path, list[Rule]] = {}
        for item in self._of("rule"):
            rules.setdefault(_path(item, "chain"), []).append(self._rule(item))
        for item in self._of("chain"):
            family, table, name = _path(item, "name")
            age, hook = ages.get((family, table)), _text(item.get("hook"))
            if family not in ("ip", "ip6", "inet"):
                continue  # bridge, arp, netdev: what is dropped there is not dropped for IP
            yield Chain(
                tool="nft",
                family=family,
                table=table,
                name=name,
                rules=tuple(rules.get((family, table, name), ())),
                hook=hook if hook in _HOOKS else "",
                kind=_text(item.get("type")) or "filter",
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
                    questions += _implied(body.get("left"))
                    questions.append(self._match(path, body))
                elif name == "vmap" and isinstance(body, dict):
                    questions += _implied(body.get("key"))
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
        return Rule(_words(statements), tuple(questions), tuple(actions))

    def _limit(self, path: _Path, kind: str, limit: object) -> Question:
        """A question about a limit, which is written in the rule, or names one of the rule's table."""
        if isinstance(limit, str):
            named = (item for item in self._of(kind) if _path(item, "name") == (path[0], path[1], limit))
            limit = next(named, None)
        return Test(Key.WITHIN_RATE, negated=limit.get("inv") is True) if isinstance(limit, dict) else UNKNOWN

    # -- matches

    def _match(self, path: _Path, match: dict[str, Any]) -> Question:
        operator = _text(match.get("op"))
        return self._question(path, match.get("left"), match.get("right"), operator)

    def _question(self, path: _Path, left: object, right: object, operator: str) -> Question:
        negated = operator == "!="
        values = self._values(path, right)
        if isinstance(left, dict) and isinstance(left.get("concat"), list):
            alternatives = tuple(self._combination(path, left["concat"], value) for value in values)
            return OneOf(alternatives, negated)
        key, mask = _key(left)
        if key is Key.HANDSHAKE:
            return _flags(left, right, negated, operator)
        if operator in ("<", ">", "<=", ">="):
            return _compared(key, values, operator)
        if key is Key.WAY_BACK:
            # `missing`, or no interface.
            is_missing = values[:1] in ([False], ["0"], [0])
            return Test(key, negated=negated != is_missing)
        if key in (Key.TRANSPARENT, Key.WILDCARD):
            return Test(key, negated=negated != (values[:1] == [0]))
        found = [item for value in values if (item := _value(key, value)) is not None]
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
    return _text(item.get("family")), _text(item.get("table")), _text(item.get(name))


def _priority(value: object) -> int:
    if isinstance(value, int):
        return value
    return _PRIORITIES.get(_text(value), 0)


def _plain(item: object) -> object:
    """An element of a set, without its time-out, counter and comment."""
    if isinstance(item, dict) and isinstance(item.get("elem"), dict):
        return item["elem"].get("val")
    return item


def _key(left: object) -> tuple[Key, int]:
    """What is asked about, and with which mask."""
    mask: object = ALL_BITS
    if isinstance(left, dict) and (operation := _operation(left)) is not None and operation[0] == "&":
        _, left, mask = operation
    match left:
        case {"meta": {"key": str(name)}} | {"meta": str(name)}:
            key = _META.get(name, Key.OTHER)
        case {"payload": {"protocol": "tcp", "field": "flags"}}:
            key = Key.HANDSHAKE
        case {"payload": {"protocol": str(), "field": str(name)}}:
            key = _FIELDS.get(name, Key.OTHER)
        case {"ct": {"key": str(name), **more}} if not more:
            key = _CT.get(name, Key.OTHER)
        case {"fib": {"result": str(result), "flags": list(flags)}}:
            key = _fib(result, flags)
        case {"socket": {"key": "transparent"}}:
            key = Key.TRANSPARENT
        case {"socket": {"key": "wildcard"}}:
            key = Key.WILDCARD
        case _:
            key = Key.OTHER
    if key is Key.HANDSHAKE:
        return key, ALL_BITS
    if not isinstance(mask, int) or (mask != ALL_BITS and key is not Key.MARK):
        return Key.OTHER, ALL_BITS
    return key, mask


def _flags(left: object, right: object, negated: bool, operator: str) -> Test:
    """Flags of a TCP segment: MASK/FLAGS as iptables has it, or any/FLAGS."""
    operation = _operation(left) if isinstance(left, dict) else None
    wanted = right["set"] if isinstance(right, dict) and isinstance(right.get("set"), list) else right
    flags = ",".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
    if operation is None:
        return Test(Key.HANDSHAKE, (f"{'any' if operator == 'in' else 'all'}/{flags}",), negated)
    mask = ",".join(map(str, operation[2])) if isinstance(operation[2], list) else str(operation[2])
    return Test(Key.HANDSHAKE, (f"{mask}/{flags}",), negated)


def _implied(left: object) -> Iterator[Question]:
    """What a match asks without saying so. nft reads a header only in packets that have it: `ip saddr != ...` never
    fits a packet of IPv6."""
    match left:
        case {"payload": {"protocol": str(protocol)}}:
            if protocol in _FAMILIES:
                yield Test(Key.FAMILY, (protocol,))
            elif protocol != "th":
                yield Test(Key.PROTOCOL, ("ipv6-icmp" if protocol == "icmpv6" else protocol,))
        case {"concat": list(parts)}:
            for part in parts:
                yield from _implied(part)
        case dict() if (operation := _operation(left)) is not None:
            yield from _implied(operation[1])


def _fib(result: str, flags: list[Any]) -> Key:
    if result == "type":
        return Key.SOURCE_TYPE if "saddr" in flags else Key.DESTINATION_TYPE
    return Key.WAY_BACK if "saddr" in flags else Key.OTHER


def _compared(key: Key, values: list[Any], operator: str) -> Question:
    """A comparison of ports, such as `tcp dport >= 1024`, as a range. Any other comparison is not known."""
    number = values[0] if values and isinstance(values[0], int) else None
    if number is None or key not in (Key.SOURCE_PORT, Key.DESTINATION_PORT, Key.MARK):
        return UNKNOWN
    last = ALL_BITS if key is Key.MARK else 65535
    first, last = {
        "<": (0, number - 1),
        "<=": (0, number),
        ">": (number + 1, last),
        ">=": (number, last),
    }[operator]
    if key is Key.MARK:
        return Test(key, ((first, last),))
    return Test(key, (PortRange(max(first, 0), min(last, 65535)),))


def _value(key: Key, value: object) -> Value | None:
    """A value of a form that is known. None: its form is not known."""
    match key:
        case Key.SOURCE | Key.DESTINATION:
            return _address(value)
        case Key.SOURCE_PORT | Key.DESTINATION_PORT:
            pair = _pair(value)
            return PortRange(*pair) if pair and 0 <= pair[0] <= pair[1] <= 65535 else None
        case Key.MARK:
            return _pair(value)
        case Key.FAMILY:
            return _FAMILIES.get(_text(value))
        case Key.PROTOCOL:
            text = str(value) if isinstance(value, str | int) else ""
            return _NUMBERS.get(text, text) or None
        case Key.OWNER:
            return str(value) if isinstance(value, int | str) else None
        case Key.CAST:
            return _CASTS.get(_text(value), _text(value)) or None
        case _:
            return _text(value) or None


def _pair(value: object) -> tuple[int, int] | None:
    match value:
        case bool():
            return None
        case int():
            return value, value
        case str() if value in _PORT_NAMES:
            return _PORT_NAMES[value], _PORT_NAMES[value]
        case {"range": [int(first), int(last)]}:
            return first, last
        case {"prefix": {"addr": int(first), "len": int(length)}} if 0 <= length <= 32:
            return first, first | ALL_BITS >> length
    return None


def _address(value: object) -> Addresses | None:
    try:
        match value:
            case str():
                host = ip_address(value)
                return Addresses(host.version, int(host), int(host))
            case {"range": [str(first), str(last)]}:
                low, high = ip_address(first), ip_address(last)
                return Addresses(low.version, int(low), int(high)) if low.version == high.version else None
            case {"prefix": {"addr": str(first), "len": int(length)}}:
                network = ip_network(f"{first}/{length}", strict=False)
                return Addresses(network.version, int(network.network_address), int(network.broadcast_address))
    except ValueError:
        pass
    return None


# -- actions -----------------------------------------------------------------------------------------------------------


def _action(name: str, body: object) -> Action | None:
    if name in _VERDICTS:
        return _VERDICTS[name]
    if name in ("jump", "goto") and isinstance(body, dict):
        return Jump(_text(body.get("target")), name == "goto")
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


def _operation(value: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The operator, the left and the right side of a bitwise expression."""
    for operator in ("&", "|", "^"):
        operands = value.get(operator)
        if isinstance(operands, list) and len(operands) == 2:
            return operator, operands[0], operands[1]
    return None


def _new_mark(value: object) -> SetMark:
    match value:
        case int():
            return SetMark(value)
        case {"ct": _}:
            return SetMark(None, is_restored=True)
        case dict() if (operation := _operation(value)) is not None and isinstance(operation[2], int):
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


# -- words -------------------------------------------------------------------------------------------------------------


def _words(statements: list[dict[str, Any]]) -> str:
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
        case dict() if (operation := _operation(value)) is not None:
            return f"{_said(operation[1])} {operation[0]} {_said(operation[2])}"
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


def read(objects: Sequence[object], ours: str) -> list[Chain]:
    """The chains in `objects`, the list under "nftables". `ours` is the name of our own table."""
    return list(_Reader(objects, ours).chains())
