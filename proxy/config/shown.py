"""A configuration as values, as text and as a number: what `pinhole config show` prints, what two configurations differ
in, and the hash by which the audit log names one.

What it shows is what is in force: names of networks, variables and files are resolved. Text that is shown can be read
again, but for secrets, which are never shown.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any, get_args

import yaml
from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

from proxy.config.schema import Config, ControlSocket, File, Policy
from proxy.config.values import PortRange

HIDDEN = "(hidden)"
"""Stands in for a secret."""

_FOUND = Config.model_fields.keys() - File.model_fields.keys()
"""What stands in no file."""

_ANY = {"interfaces", "sources", "destinations", "helpers"}
"""Lists of a policy that stand for anything when they are empty."""


def plain(
    settings: File, *, with_defaults: bool = True, hide: Callable[[Any], Any] = lambda _: HIDDEN
) -> dict[str, Any]:
    """The configuration as values of JSON, with the keys that the file has. Without defaults: only what differs from
    them. `hide` gives what is shown in the place of a secret."""
    return _Shows(with_defaults, hide).section(settings)


def text(settings: Mapping[str, Any]) -> str:
    """Shown values as YAML."""
    lines: str = yaml.safe_dump(escaped(settings), sort_keys=False, allow_unicode=True, width=120)
    return lines


def hash_of(settings: File) -> str:
    """The same for two configurations exactly if they have the same effect, but for secrets. 64 hexadecimal digits."""
    canonical = json.dumps(plain(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def escaped(value: Any) -> Any:
    """The value as a file writes it: there `${` begins a variable."""
    match value:
        case str():
            return value.replace("${", "$${")
        case dict():
            return {key: escaped(each) for key, each in value.items()}
        case list():
            return [escaped(each) for each in value]
    return value


@dataclasses.dataclass(frozen=True, slots=True)
class _Shows:
    """Turns the parts of a configuration into values of JSON."""

    with_defaults: bool
    hide: Callable[[Any], Any]

    def section(self, section: BaseModel) -> dict[str, Any]:
        """The keys and values of one section, or of an element of a list."""
        shown: dict[str, Any] = {}
        for name, field in type(section).model_fields.items():
            value = getattr(section, name)
            if isinstance(section, Config) and name in _FOUND:
                continue
            if name in getattr(section, "MEANT_IF_SET", ()):
                is_shown = name in section.model_fields_set
            elif isinstance(value, BaseModel):
                is_shown = self.with_defaults or bool(self.section(value))
            else:
                is_shown = self.with_defaults or value != field.get_default(call_default_factory=True)
            if not is_shown:
                continue
            key = str(field.validation_alias or name)
            if _is_secret(field):
                shown[key] = None if value is None else self.hide(value)
            elif isinstance(section, Policy):
                shown[key] = self._of_policy(name, value)
            else:
                shown[key] = self.value(value)
        return shown

    def _of_policy(self, name: str, value: Any) -> Any:
        """A value of a policy, some of which have words of their own."""
        if name == "accept":
            return "accept" if value else "deny"
        if name in _ANY and not value:
            return "any"
        if name == "options" and not self.with_defaults:
            changed = {helper: self.value(options) for helper, options in value.items()}
            return {helper: options for helper, options in changed.items() if options}
        return self.value(value)

    def value(self, value: Any) -> Any:
        """One value as JSON has it."""
        match value:
            case ControlSocket(is_for_group=True):
                return value.path
            case BaseModel():
                return self.section(value)
            case PortRange():
                return value.first if value.first == value.last else str(value)
            case Enum():
                return value.value
            case IPv4Network() | IPv6Network():
                return str(value.network_address if value.prefixlen == value.max_prefixlen else value)
            case Mapping():
                return {str(key): self.value(each) for key, each in value.items()}
            case list() | tuple():
                return [self.value(each) for each in value]
            case float() if value.is_integer():
                return int(value)
            case bool() | int() | float() | str() | None:
                return value
        if dataclasses.is_dataclass(value) and type(value).__str__ is object.__str__:  # else it is one word in a file
            return {
                one.name: self.value(getattr(value, one.name))
                for one in dataclasses.fields(value)
                if self.with_defaults or getattr(value, one.name) != _default(one)
            }
        return str(value)


def _is_secret(field: FieldInfo) -> bool:
    """Whether the value of this field is nobody's business (`written.Secret`)."""
    return any(map(_hides, field.metadata)) or _has_secret(field.annotation)


def _has_secret(kind: Any) -> bool:
    """Whether a type, or one of those that it may be, is that of a secret."""
    return any(map(_hides, getattr(kind, "__metadata__", ()))) or any(map(_has_secret, get_args(kind)))


def _hides(metadata: Any) -> bool:
    """Whether this part of an annotation says that the value is a secret."""
    return isinstance(metadata, WithJsonSchema) and (metadata.json_schema or {}).get("writeOnly") is True


def _default(field: dataclasses.Field[Any]) -> Any:
    """The default of an option."""
    made: Callable[[], Any] | Any = field.default_factory
    return field.default if made is dataclasses.MISSING else made()
