"""The session-helper table and the helpers that exist: for people and for programs. This module is pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from protocols.contract.addresses import Transport
from protocols.untaken import untaken
from proxy.config.schema import REGISTRY, HelperEntry, Policy, json_schema
from proxy.record.render import plain

PROTOCOL_NUMBERS = {Transport.TCP: 6, Transport.UDP: 17}


def entries(table: Sequence[HelperEntry]) -> list[dict[str, Any]]:
    """The table as plain values: `id`, `name`, `protocol`, `protocol_number`, `port` (a list of ports and ranges). An
    entry that is off also has `off`, which says why."""
    return [
        {
            "id": entry.id,
            "name": entry.name,
            "protocol": entry.protocol.value,
            "protocol_number": PROTOCOL_NUMBERS[entry.protocol],
            "port": [str(ports) for ports in entry.ports],
            **({"off": why_off(entry)} if not entry.enabled else {}),
        }
        for entry in table
    ]


def why_off(entry: HelperEntry) -> str:
    """Why an entry is off: the helper's own reason if the helper has one of the entry's ports off, otherwise the
    configuration."""
    reasons = REGISTRY[entry.name].off
    own = (reasons.get((entry.protocol, ports.first)) for ports in entry.ports if ports.first == ports.last)
    return next((reason for reason in own if reason is not None), "the configuration says so")


def not_taken_over() -> list[dict[str, Any]]:
    """What others have a session helper for and pinhole has not: `name`, `protocol`, `port`, and `why`."""
    rows = untaken(REGISTRY)
    return [{"name": row.name, "protocol": row.transport.value, "port": row.port, "why": row.why} for row in rows]


def chosen(policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """The options that policies set otherwise than by default: `policy`, `helper`, `option`, `value`."""
    return [
        {"policy": policy.name, "helper": name, "option": field.name, "value": plain(value)}
        for policy in policies
        for name, options in policy.options.items()
        for field in fields(options)
        if (value := getattr(options, field.name)) != getattr(REGISTRY[name].options(), field.name)
    ]


def helpers() -> list[dict[str, Any]]:
    """Every helper that exists: `name`, `summary`, `ports`, and `options`, each with `name`, `type`, `default` and
    `description`."""
    schema = json_schema()

    def definition(node: dict[str, Any]) -> dict[str, Any]:
        return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node

    options = definition(definition(schema["$defs"]["Policy"])["properties"]["options"]).get("properties", {})
    return [
        {
            "name": name,
            "summary": helper.summary,
            "ports": [{"protocol": transport.value, "port": port} for transport, port in helper.ports],
            "options": list(_options(definition(options[name]))),
        }
        for name, helper in REGISTRY.items()
    ]


def _options(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of a helper, from its JSON Schema."""
    for name, field in schema["properties"].items():
        yield {
            "name": name,
            "type": type_of(field),
            "default": field.get("default"),
            "description": " ".join(field.get("description", "").split()),
        }


def type_of(field: Mapping[str, Any]) -> str:
    """The type in a JSON Schema in a few words: `allow | deny`, `number`, `list of string`."""
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(type_of(choice) for choice in field["anyOf"]))
    if field.get("format") == "duration":
        return "seconds"
    if field.get("type") == "array":
        items = field.get("items", {})
        return "list of mappings" if "$ref" in items else f"list of {type_of(items)}"
    kind = field.get("const", field.get("type", "any"))
    kinds = kind if isinstance(kind, list) else [kind]
    return " or ".join("mapping" if one == "object" else str(one) for one in kinds)
