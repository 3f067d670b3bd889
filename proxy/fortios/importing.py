"""The configuration of a FortiGate as a configuration of ours: YAML, with a remark on each thing that is not mapped."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import yaml

from proxy.config import reading
from proxy.config.shown import escaped
from proxy.errors import PinholeError
from proxy.fortios import syntax
from proxy.fortios.objects import Objects
from proxy.fortios.policies import Policies, Written
from proxy.fortios.syntax import Block
from proxy.fortios.table import Entry, entries

_PRIVATE = {
    "name": "private",
    "source": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
    "action": "accept",
}


def translated(text: str, domain: str | None = None) -> str:
    """Our YAML for the text of a FortiOS configuration. `domain` names the virtual domain, where there are several.
    Raises PinholeError."""
    root = syntax.read(text)
    chosen, common, remarks = _domain(root, domain)
    table, told = entries(chosen, common)
    if not any(not entry.remark and not entry.off for entry in table):
        raise PinholeError("no entry of its session-helper table names a helper that there is in this version")
    policies = Policies(chosen, Objects(chosen, common), table)
    written = list(policies.written())
    if "firewall policy" not in chosen.blocks:
        written = [
            Written(["the file has no firewall policies: these are the private networks, without NAT"], _PRIVATE)
        ]
    elif not any(one.keys for one in written):
        nothing = {"name": "nothing", "action": "deny"}
        written.append(Written(["no policy that can be mapped concerns a helper: everything is denied"], nothing))
    remarks += [
        f"interface {old!r} of the FortiGate is called {new!r} here" for old, new in policies.interfaces.items()
    ]
    head = [
        "Imported from FortiOS. Each remark tells of something that is not mapped, or means something else here.",
        "Interfaces are called as on the FortiGate: put the names of this host in their place (`pinhole check`).",
        *remarks,
        *_translations(chosen),
    ]
    _leave_out_refused(table, policies.networks, written)
    return "\n".join(_lines(head, table, told, policies.networks, written)) + "\n"


def _translations(chosen: Block) -> Iterator[str]:
    """Remarks on addresses that the FortiGate translates in answers of name servers. A policy of ours does so for its
    own clients, and which ones are meant nobody can tell from the table."""
    for number, entry in chosen.block("firewall dnstranslation").edits.items():
        length = entry.word("netmask", "255.255.255.255")
        try:
            source, target = (IPv4Network(f"{entry.word(key)}/{length}", strict=False) for key in ("src", "dst"))
        except ValueError:
            yield f"dnstranslation {number} is not mapped: its addresses cannot be read"
            continue
        option = f"options: {{dns: {{translate: {{{source}: {target}}}}}}}"
        yield f"dnstranslation {number}: turn the entries of dns on, and give the policies of those who ask `{option}`"


def _domain(root: Block, wanted: str | None) -> tuple[Block, Block, list[str]]:
    """The virtual domain to import, the block of what all domains share, and remarks."""
    domains = {name: block for name, block in root.block("vdom").edits.items() if block.blocks}
    common = root.blocks.get("global") or root
    if not domains:
        if wanted is not None:
            raise PinholeError(f"the file has no virtual domain {wanted!r}: it has none at all")
        return root, root, []
    if wanted is None:
        wanted = "root" if "root" in domains else next(iter(domains))
    if wanted not in domains:
        raise PinholeError(f"the file has no virtual domain {wanted!r}, only: {', '.join(domains)}")
    others = [name for name in domains if name != wanted]
    remarks = [f"this is the virtual domain {wanted!r}; `--vdom` chooses another one: {', '.join(others)}"]
    return domains[wanted], common, remarks if others else []


def _leave_out_refused(table: list[Entry], networks: dict[str, list[str]], written: list[Written]) -> None:
    """Make remarks of those policies that `check` refuses, mostly since others above take all of their sessions."""
    rows = [entry.row for entry in table if not entry.remark]
    while True:
        kept = [one for one in written if one.keys]
        problems = reading.examine(
            {"session-helpers": rows, "networks": _used(networks, written), "policies": [one.keys for one in kept]}
        )
        if not problems:
            return
        refused = {number: what for path, what in problems if (number := _policy_of(path)) is not None}
        if not refused:
            raise PinholeError("; ".join(what for _, what in problems))
        for number, what in refused.items():
            kept[number].remarks = [f"{kept[number].remarks[0]} is left out: {what}"]
            kept[number].keys = {}
        if not any(one.keys for one in written):
            written.append(Written(["nothing is left"], {"name": "nothing", "action": "deny"}))


def _policy_of(path: str) -> int | None:
    """The number of the policy that a path begins with."""
    section, _, rest = path.partition("[")
    number = rest.partition("]")[0]
    return int(number) if section == "policies" and number.isdigit() else None


def _lines(
    head: list[str], table: list[Entry], told: list[str], networks: dict[str, list[str]], written: list[Written]
) -> Iterator[str]:
    """The lines of the file."""
    yield from _remarks(head, "")
    yield ""
    yield from _remarks(told, "")
    yield "session-helpers:"
    for entry in table:
        if entry.off:
            yield f"  # {entry.id}: {entry.name} is off until somebody turns it on: {_plain(entry.off)}"
        if entry.remark:
            yield f"  # {entry.id}: {_plain(entry.name)} {entry.protocol.value} {entry.port}: {_plain(entry.remark)}"
        else:
            yield f"  - {_flow(entry.row)}"
    used = _used(networks, written)
    if used:
        yield ""
        yield "networks:"
        yield from _dumped(used, "  ")
    yield ""
    yield "policies:"
    for one in written:
        yield from _remarks(one.remarks, "  ")
        if one.keys:
            first, *rest = _dumped(one.keys, "    ")
            yield f"  - {first.lstrip()}"
            yield from rest


def _used(networks: dict[str, list[str]], written: list[Written]) -> dict[str, list[str]]:
    """Those of the networks that a policy names, if only by way of others."""
    waiting = [word for one in written for key in ("source", "destination") for word in one.keys.get(key, [])]
    used: set[str] = set()
    while waiting:
        word = waiting.pop()
        if word in networks and word not in used:
            used.add(word)
            waiting += networks[word]
    return {name: of for name, of in networks.items() if name in used}


def _remarks(texts: list[str], indent: str) -> Iterator[str]:
    return (f"{indent}# {_plain(text)}" for text in texts)


def _plain(text: str) -> str:
    """A text of the file within a remark: nothing in it ends the line."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _dumped(value: dict[str, Any], indent: str) -> Iterator[str]:
    """Keys and values in the lines of a file."""
    text = yaml.safe_dump(escaped(value), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)
    return (f"{indent}{line}" for line in text.splitlines())


def _flow(value: Any) -> str:
    """A value in one line."""
    return str(yaml.safe_dump(escaped(value), sort_keys=False, default_flow_style=True, width=100_000).strip())
