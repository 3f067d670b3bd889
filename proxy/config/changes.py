"""What two configurations differ in, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from proxy.config.checks import ENTRIES, POLICIES
from proxy.config.schema import File
from proxy.config.shown import HIDDEN, plain

_NAMES = {ENTRIES: "id", POLICIES: "name"}
"""The lists whose elements have a name, and the key that holds it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key that is otherwise now. An element of a list goes by its name: `policies[lan].snat`."""

    key: str
    before: Any
    """None: there was none."""
    after: Any
    """None: there is none any more."""

    @property
    def row(self) -> dict[str, Any]:
        """The same as values of JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A secret, which is compared and not shown."""

    value: Any


def changes(before: File, after: File) -> list[Change]:
    """What is otherwise in the second configuration, in the order of the keys."""
    old, new = plain(before, hide=_Hidden), plain(after, hide=_Hidden)
    found = [change for key in new for change in _changed(key, old.get(key), new[key])]
    brief = {key: _by_name(key, plain(after, with_defaults=False).get(key, [])) for key in _NAMES}
    return [Change(one.key, _shown(one.before), _shown(_added(one, brief))) for one in found]


def _added(change: Change, brief: Mapping[str, Mapping[Any, Any]]) -> Any:
    """The new value, without its defaults if it is an element that was added."""
    key, _, name = change.key.partition("[")
    if change.before is None and isinstance(change.after, dict) and key in brief:
        return next((each for known, each in brief[key].items() if name == f"{known}]"), change.after)
    return change.after


def _shown(value: Any) -> Any:
    """The value without secrets."""
    match value:
        case _Hidden():
            return HIDDEN
        case dict():
            return {key: _shown(each) for key, each in value.items()}
        case list():
            return [_shown(each) for each in value]
    return value


def _changed(key: str, old: Any, new: Any) -> Iterator[Change]:
    """The changes at one key and below it."""
    if old == new:
        return
    if key in _NAMES and isinstance(old, list) and isinstance(new, list):
        yield from _in_list(key, _by_name(key, old), _by_name(key, new))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*new, *(gone for gone in old if gone not in new)]:
            yield from _changed(f"{key}.{name}", old.get(name), new.get(name))
    else:
        yield Change(key, old, new)


def _by_name(key: str, elements: Sequence[Mapping[str, Any]]) -> dict[Any, Mapping[str, Any]]:
    """The elements of a list by their names."""
    return {element[_NAMES[key]]: element for element in elements}


def _in_list(key: str, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[Change]:
    """The changes in a list whose elements have names."""
    for name, element in new.items():
        if name not in old:
            yield Change(f"{key}[{name}]", None, element)
        else:
            yield from _changed(f"{key}[{name}]", old[name], element)
    for name, element in old.items():
        if name not in new:
            yield Change(f"{key}[{name}]", element, None)
    stay_old, stay_new = [name for name in old if name in new], [name for name in new if name in old]
    if stay_old != stay_new:
        yield Change(f"{key} (order)", stay_old, stay_new)
