"""Reads what `iptables-save` and `ip6tables-save` say, of either flavour, into `rulesets` (pure).

It never fails: a match that is not known is something that cannot be known beforehand (Key.OTHER), and a target that is
not known does nothing. Matches are read up to the next `-m`, `-j` or `-g`; arguments stand as the commands print them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from proxy.config.values import PortRange
from proxy.doctor.rulesets import (
    ALL_BITS,
    Action,
    Addresses,
    Chain,
    Jump,
    Key,
    Question,
    Rule,
    SetMark,
    SetSegment,
    Test,
    Translation,
    Untrack,
    Verdict,
)
from proxy.host import rules_iptables

_PRIORITIES = {
    ("raw", ""): -300,
    ("mangle", ""): -150,
    ("nat", "PREROUTING"): -100,
    ("nat", "OUTPUT"): -100,
    ("filter", ""): 0,
    ("security", ""): 50,
    ("nat", ""): 100,
}
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_VERDICTS = {
    "ACCEPT": Verdict.ACCEPT,
    "DROP": Verdict.DROP,
    "REJECT": Verdict.REJECT,
    "RETURN": Verdict.RETURN,
    "NFQUEUE": Verdict.QUEUE,
}
_SIMPLE = {"-i": Key.IN, "-o": Key.OUT, "-p": Key.PROTOCOL, "-s": Key.SOURCE, "-d": Key.DESTINATION}
_NUMBERS = {"6": "tcp", "17": "udp", "47": "gre"}
_PORTS = {"--dport": Key.DESTINATION_PORT, "--dports": Key.DESTINATION_PORT, "--sport": Key.SOURCE_PORT,
          "--sports": Key.SOURCE_PORT, "--destination-port": Key.DESTINATION_PORT,
          "--source-port": Key.SOURCE_PORT}  # fmt: skip
_IGNORED = frozenset({"comment", "tcp", "udp"})
"""Matches that ask nothing by themselves."""

UNKNOWN = Test(Key.OTHER)


def _words(line: str) -> list[str]:
    if '"' not in line and "\\" not in line:
        return line.split()
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _masked(text: str) -> tuple[int, int] | None:
    """The value and mask of a text such as `0x1/0xff`."""
    value, slash, mask = text.partition("/")
    numbers = _number(value), _number(mask) if slash else ALL_BITS
    if numbers[0] is None or numbers[1] is None:
        return None
    return numbers[0] & ALL_BITS, numbers[1] & ALL_BITS


class _Arguments:
    """The words of a rule after its chain, one after the other."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._at = 0

    def next(self) -> str | None:
        """The next word. None: there is none."""
        if self._at == len(self._words):
            return None
        self._at += 1
        return self._words[self._at - 1]

    def value(self) -> str:
        return self.next() or ""

    def of_module(self) -> list[tuple[str, bool, list[str]]]:
        """The options up to the next module or target: (option, whether it is negated, its values)."""
        found: list[tuple[str, bool, list[str]]] = []
        negated = False
        while self._at < len(self._words):
            word = self._words[self._at]
            if word in ("-m", "-j", "-g") or word in _SIMPLE:
                break
            if word == "!" and self._words[self._at + 1 : self._at + 2] and self._words[self._at + 1] in _SIMPLE:
                break
            self._at += 1
            if word == "!":
                negated = True
            elif word.startswith("--"):
                found.append((word, negated, []))
                negated = False
            elif found:
                found[-1][2].append(word)
        return found


def _ports(text: str) -> tuple[PortRange, ...]:
    found = []
    for item in text.split(","):
        first, _, last = item.partition(":")
        low = _number(first or "0")
        high = low if ":" not in item else _number(last or "65535")
        if low is not None and high is not None and 0 <= low <= high <= 65535:
            found.append(PortRange(low, high))
    return tuple(found)


def _addresses(text: str) -> tuple[Addresses, ...]:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return ()
    return (Addresses(network.version, int(network.network_address), int(network.broadcast_address)),)


def _simple(option: str, text: str, negated: bool) -> Question:
    key = _SIMPLE[option]
    if key in (Key.SOURCE, Key.DESTINATION):
        addresses = _addresses(text)
        return Test(key, addresses, negated) if addresses else UNKNOWN
    if key is Key.PROTOCOL:
        return Test(key, (_NUMBERS.get(text, text),), negated)
    return Test(key, (text[:-1] + "*" if text.endswith("+") else text,), negated)


def _matches(module: str, options: list[tuple[str, bool, list[str]]]) -> Iterator[Question]:
    if not options:
        if module == "socket":
            yield Test(Key.WILDCARD, negated=True)
        elif module == "rpfilter":
            yield Test(Key.WAY_BACK)
        elif module == "limit":
            yield Test(Key.WITHIN_RATE)
        elif module not in _IGNORED:
            yield UNKNOWN
        return
    names = {option for option, _, _ in options}
    if module == "rpfilter":
        yield Test(Key.WAY_BACK, negated="--invert" in names)
    elif module == "socket":
        yield Test(Key.TRANSPARENT)
    elif module == "limit":
        yield Test(Key.WITHIN_RATE)
    elif module == "hashlimit":
        yield Test(Key.WITHIN_RATE, negated="--hashlimit-above" in names)
    elif module == "quota":
        yield Test(Key.WITHIN_RATE, negated=any(negated for _, negated, _ in options))
    elif module == "connlimit":
        yield Test(Key.WITHIN_RATE, negated="--connlimit-above" in names)
    elif module != "comment":
        for option, negated, values in options:
            yield _option(module, option, negated, values)


def _numbers(text: str) -> str:
    """The text with decimal numbers: iptables prints `0x16` for `22`."""
    return re.sub(r"0x[0-9a-f]{1,16}", lambda number: str(int(number[0], 16)), text.lower())


_OF_TUNNELS = _numbers(rules_iptables.OF_TUNNELS.split('"')[1])
"""How our own chain knows the packets of tunnels."""


def _option(module: str, option: str, negated: bool, values: list[str]) -> Question:
    text = values[0] if values else ""
    if module in ("tcp", "udp", "multiport") and option in _PORTS:
        ports = _ports(text)
        return Test(_PORTS[option], ports, negated) if ports else UNKNOWN
    match module, option:
        case "u32", "--u32" if _numbers(text) == _OF_TUNNELS:
            # Only GRE of this kind is ours, so for packets of ours this asks for GRE.
            return Test(Key.PROTOCOL, ("gre",), negated)
        case ("conntrack", "--ctstate") | ("state", "--state"):
            return Test(Key.STATE, tuple(text.lower().split(",")), negated)
        case "mark", "--mark":
            pair = _masked(text)
            return Test(Key.MARK, ((pair[0], pair[0]),), negated, pair[1]) if pair else UNKNOWN
        case "connmark", "--mark":
            return Test(Key.CONNECTION_MARK, negated=negated)
        case "tcp", "--tcp-flags":
            mask, flags = (item.lower() for item in (*values, "", "")[:2])
            return Test(Key.HANDSHAKE, (f"{mask}/{flags}",), negated)
        case "tcp", "--syn":
            return Test(Key.HANDSHAKE, ("syn,rst,ack,fin/syn",), negated)
        case "addrtype", "--dst-type":
            return Test(Key.DESTINATION_TYPE, tuple(text.lower().split(",")), negated)
        case "addrtype", "--src-type":
            return Test(Key.SOURCE_TYPE, tuple(text.lower().split(",")), negated)
        case "owner", "--uid-owner":
            return Test(Key.OWNER, (text,), negated)
        case "pkttype", "--pkt-type":
            return Test(Key.CAST, (text,), negated)
        case "iprange", ("--src-range" | "--dst-range"):
            first, _, last = text.partition("-")
            ends = _addresses(first), _addresses(last or first)
            if ends[0] and ends[1]:
                key = Key.SOURCE if option == "--src-range" else Key.DESTINATION
                return Test(key, (Addresses(ends[0][0].version, ends[0][0].first, ends[1][0].last),), negated)
    return Test(Key.OTHER, negated=negated)


def _target(name: str, options: list[tuple[str, bool, list[str]]]) -> Action | None:
    arguments = {option: values[0] if values else "" for option, _, values in options}
    if name in _VERDICTS:
        return _VERDICTS[name]
    match name:
        case "MARK":
            return _mark(arguments)
        case "CONNMARK":
            if "--restore-mark" not in arguments:
                return None
            mask = _number(arguments.get("--nfmask", "0xffffffff"))
            # Bits of the connection's mark replace those under the mask.
            return SetMark(None, ALL_BITS & ~(ALL_BITS if mask is None else mask), is_restored=True)
        case "TPROXY":
            return Verdict.ACCEPT
        case "MASQUERADE" | "SNAT" | "NETMAP":
            return Translation(is_of_source=True)
        case "DNAT" | "REDIRECT":
            return Translation(is_of_source=False)
        case "NOTRACK":
            return Untrack()
        case "CT" if "--notrack" in arguments:
            return Untrack()
        case "TCPMSS":
            return SetSegment(_number(arguments.get("--set-mss", "")))
    # The target is a chain of the administrator's, or it decides nothing and is no chain.
    return Jump(name)


def _mark(arguments: dict[str, str]) -> SetMark:
    for option, text in arguments.items():
        pair = _masked(text)
        if pair is None:
            continue
        value, mask = pair
        match option:
            case "--set-xmark":
                return SetMark(value, ALL_BITS & ~mask)
            case "--set-mark":
                return SetMark(value, ALL_BITS & ~(mask | value))
            case "--and-mark":
                return SetMark(0, value)
            case "--or-mark":
                return SetMark(value, ALL_BITS & ~value)
            case "--xor-mark":
                return SetMark(value, ALL_BITS)
    return SetMark(None)


def _rule(words: list[str], text: str) -> Rule:
    """The rule in these words. `text` is the rule without the name of its chain."""
    questions: list[Question] = []
    actions: list[Action] = []
    arguments = _Arguments(words)
    negated = False
    while (word := arguments.next()) is not None:
        if word == "!":
            negated = True
            continue
        if word in _SIMPLE:
            questions.append(_simple(word, arguments.value(), negated))
        elif word == "-m":
            module = arguments.value()
            questions += _matches(module, arguments.of_module())
        elif word in ("-j", "-g"):
            name = arguments.value()
            if word == "-g":
                actions.append(Jump(name, is_goto=True))
                continue
            options = arguments.of_module()
            if name == "TPROXY" and (pair := _masked(_first(options, "--tproxy-mark"))) is not None:
                actions.append(SetMark(pair[0], ALL_BITS & ~pair[1]))
            action = _target(name, options)
            if action is not None:
                actions.append(action)
        elif word == "-f":
            questions.append(UNKNOWN)
        negated = False
    return Rule(text, tuple(questions), tuple(actions))


def _first(options: list[tuple[str, bool, list[str]]], wanted: str) -> str:
    return next((values[0] for option, _, values in options if option == wanted and values), "")


def read(saved: str, version: int, ours: Sequence[str], tool: str = "") -> list[Chain]:
    """The chains in `saved`, the output of the save command. `ours` names our own chains."""
    tool = tool or ("iptables" if version == 4 else "ip6tables")
    table = ""
    policies: dict[tuple[str, str], str] = {}
    rules: dict[tuple[str, str], list[Rule]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, _, rest = line[1:].partition(" ")
            policies[table, name] = rest.partition(" ")[0]
        elif line.startswith("-A ") and len(words := _words(line)) > 1:
            rules.setdefault((table, words[1]), []).append(_rule(words[2:], line.partition(f" {words[1]} ")[2]))
    return [
        Chain(
            tool=tool,
            family="ip" if version == 4 else "ip6",
            table=table,
            name=name,
            rules=tuple(rules.get((table, name), ())),
            hook=name.lower() if name in _HOOKS and policy != "-" else "",
            kind="nat" if table == "nat" else "route" if (table, name) == ("mangle", "OUTPUT") else "filter",
            priority=_PRIORITIES.get((table, name), _PRIORITIES.get((table, ""), 0)),
            policy=Verdict.DROP if policy == "DROP" else Verdict.ACCEPT,
            is_ours=name in ours,
        )
        for (table, name), policy in policies.items()
    ]
