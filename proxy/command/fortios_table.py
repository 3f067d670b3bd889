"""The session-helper table as FortiOS writes it. This module is pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from protocols.contract.addresses import Transport
from proxy.command.helper_table import PROTOCOL_NUMBERS, not_taken_over, why_off
from proxy.config.schema import REGISTRY, HelperEntry, default_table
from proxy.fortios.table import factory, fortios_name


class _Row(NamedTuple):
    """An entry of FortiOS, which has one port."""

    id: int
    name: str
    protocol: Transport
    port: int
    remark: str
    entry: int | None
    """The id of the entry of ours that serves it. None: it is not taken over."""


def text(shown: Sequence[HelperEntry], table: Sequence[HelperEntry]) -> str:
    """Entries as `config system session-helper` lists them.

    `shown` are the entries to write, out of the whole `table`. FortiOS has no entries that are off, so a comment says
    it, and with the whole table comments say what is not taken over.
    """
    rows = list(_rows(table))
    if tuple(table) == default_table(REGISTRY):
        rows = _as_on_a_fortigate(rows)
    is_whole = len(shown) == len(table)
    if not is_whole:
        wanted = {entry.id for entry in shown}
        rows = [row for row in rows if row.entry in wanted]
    lines = ["config system session-helper"]
    for row in rows:
        lines += [f"    # {row.remark}"] if row.remark else []
        lines += [
            f"    edit {row.id}",
            f"        set name {row.name}",
            f"        set protocol {PROTOCOL_NUMBERS[row.protocol]}",
            f"        set port {row.port}",
            "    next",
        ]
    if is_whole:
        written = {(row.name, row.protocol.value, row.port) for row in rows}
        for each in not_taken_over():
            name, protocol, port = each["name"], each["protocol"], each["port"]
            if (name, protocol, port) not in written:
                lines.append(f"    # not taken over: {name} {protocol} {port}: {each['why']}")
    return "\n".join([*lines, "end"])


def _rows(table: Sequence[HelperEntry]) -> Iterator[_Row]:
    """Further ports of an entry of ours become entries of their own, with ids that are free in the table."""
    free = count(max((entry.id for entry in table), default=0) + 1)
    for entry in table:
        name = fortios_name(entry.name, entry.protocol)
        remark = "" if entry.enabled else f"off: {why_off(entry)}"
        ports = (port for ports in entry.ports for port in range(ports.first, ports.last + 1))
        for index, port in enumerate(ports):
            number = entry.id if index == 0 else next(free)
            yield _Row(number, name, entry.protocol, port, remark, entry.id)


def _as_on_a_fortigate(rows: Sequence[_Row]) -> list[_Row]:
    """Rows of the built-in table. They are what a FortiGate has from the factory, and a little more: so they have the
    ids and the order that they have there, and those that are not taken over stand among them, each with the reason.
    """
    ours = {(row.name, row.protocol, row.port): row for row in rows}
    found = []
    for entry in factory():
        name = fortios_name(entry.name, entry.protocol)
        missing = _Row(entry.id, name, entry.protocol, entry.port, entry.remark, None)
        found.append(ours.pop((name, entry.protocol, entry.port), missing)._replace(id=entry.id))
    more = zip(count(found[-1].id + 1), ours.values())
    return found + [row._replace(id=number) for number, row in more]
