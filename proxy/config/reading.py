"""The configuration in force: its files are read and judged as a whole, and everything that is wrong with them is
reported together.

    files --documents--> plain values + the place of each --pydantic--> File --checks--> Config | ConfigError
                                                                             --advice--> warnings

The checks know the schema, and only this module knows the checks. So the schema can be used without a file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proxy.config import advice, checks, documents, files, places, schema
from proxy.config.files import Gather, Source
from proxy.config.marks import Document, Location, Problem
from proxy.config.networks import Names
from proxy.config.schema import Config, ControlSocket, File, Policy
from proxy.config.whereabouts import chosen
from proxy.config.wording import problems as in_words
from proxy.errors import ConfigError

_LISTS = (checks.ENTRIES, checks.POLICIES)
"""The keys at the top whose elements may come from several files."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found in the files of a configuration, one line for each, in their order."""

    settings: Config | None
    """The configuration. None: it cannot be used."""
    problems: tuple[str, ...]
    """What is wrong."""
    warnings: tuple[str, ...]
    """What is allowed, and yet will hardly do what somebody wants."""


def default() -> Config:
    """The built-in configuration: private networks may go anywhere, no NAT, every helper on its usual ports."""
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918; RFC 4193
    return Config(policies=(Policy(name="private", sources=tuple(map(ip_network, private)), accept=True),))


def in_force(path: str | None, gather: Gather = files.gather) -> Config:
    """The configuration for `-c PATH`; without a path the system's file, otherwise the built-in one. `gather` reads the
    files, if this process does not do so itself. Raises ConfigError."""
    file = chosen(path)
    return load(file, gather) if file is not None else default()


def control_in_force(path: str | None) -> ControlSocket:
    """The control socket of a daemon with that configuration. Other mistakes in the file do not matter,
    since they are a reason to ask the daemon. Raises ConfigError when the path cannot be known."""
    file = chosen(path)
    if file is None:
        return default().control
    document = documents.read(files.gather(file), _LISTS)
    if isinstance(document.value, dict):
        own = {key: document.value[key] for key in ("control",) if key in document.value}
        with contextlib.suppress(ValidationError):
            return _validate({"policies": [], **own}).control
    return load(file).control


def load(path: str | Path, gather: Gather = files.gather) -> Config:
    """Read a configuration. Raises ConfigError with everything that is wrong with it, in the order of its files."""
    judged = judge(gather(str(path)))
    if judged.settings is None:
        raise ConfigError(judged.problems)
    return judged.settings


def judge(sources: Sequence[Source], *, with_places: bool = False) -> Judgement:
    """Judge the files of a configuration, the main one first. `with_places`: also whether others than the right users
    may put something else in the place of a file that it names, or of its own."""
    document = documents.read(sources, _LISTS)
    settings, problems = _examine(document)
    unwise: list[Problem] = []
    if settings is not None:
        if with_places:
            problems += [document.problem(at, text) for at, text in places.findings(settings, document.files)]
        unwise = [document.problem(at, text) for at, text in advice.findings(settings)]
        if with_places:
            passed_over = files.passed_over(document.files[0])
            unwise += [Problem(name, 1, 1, "", "is not read: call it .yaml") for name in passed_over]
    wrong = tuple(map(str, document.in_order(problems)))
    warnings = tuple(one.told("warning") for one in document.in_order(unwise))
    if wrong or settings is None:
        return Judgement(None, wrong, warnings)
    at = [document.problem((checks.POLICIES, position), "") for position in range(len(settings.policies))]
    places_of_policies = tuple(f"{one.file}:{one.line}" for one in at)
    config = Config(**dict(settings), source=document.files[0], warnings=warnings, policy_places=places_of_policies)
    return Judgement(config, (), warnings)


def examine(value: dict[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with the keys and values of a configuration: the path of each thing, and the words."""
    _, problems = _examine(documents.of(value, ""))
    return [(one.path, one.text) for one in problems]


def _examine(document: Document) -> tuple[File | None, list[Problem]]:
    """The configuration, if it can be judged, and all its problems."""
    problems = list(document.problems)
    if document.root is None:
        return None, problems or [document.problem((), "the file is empty; it needs `policies` at least")]
    if not isinstance(document.value, dict):
        return None, problems or [document.problem((), "expected keys and values, `policies: ...` at least")]
    try:
        settings = _validate(document.value)
        rest = _Rest(document.value, [])
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += in_words(document, details)
        # What cannot be read is set aside, so that the rest can still be judged as a whole.
        rest = _Rest(document.value, [document.existing(detail["loc"]) for detail in details])
        try:
            settings = _validate(rest.value)
        except ValidationError:
            return None, problems
    for location, text in checks.findings(settings, schema.REGISTRY, rest.unread):
        problems.append(document.problem(rest.former(location), text))
    return settings, problems


def _validate(value: dict[str, Any]) -> File:
    """Check values as pydantic checks JSON: there it is strict about types, and yet takes lists, words and numbers for
    types of ours."""
    names = {"networks": Names(value.get("networks"))}
    return File.model_validate_json(json.dumps(value), strict=True, context=names)


class _Rest:
    """A document without what is wrong in it. In an element of a list only its wrong keys are missing, or stand there
    with a value that means nothing; the checks are told which."""

    STAND_INS: Mapping[str, Mapping[str, Any]] = {
        checks.ENTRIES: {"id": 1, "name": "", "protocol": "tcp", "port": 1},
        checks.POLICIES: {"name": "?", "action": "accept"},
    }

    def __init__(self, value: Mapping[str, Any], broken: Sequence[Location]) -> None:
        """`broken` are the places of what is wrong. A place is that of a container, where a key is missing in it."""
        self.value: dict[str, Any] = {checks.POLICIES: []}
        unread: set[Location] = set()
        self._former: dict[str, list[int]] = {}
        for key, section in value.items():
            wrong = [location for location in broken if location[:1] == (key,)]
            if not wrong:
                self.value[key] = section
            elif key in self.STAND_INS and isinstance(section, list):
                kept: list[dict[str, Any]] = []
                self.value[key] = kept
                self._former[key] = []
                wrong_keys: dict[Location, set[str]] = {}
                for location in wrong:
                    wrong_keys.setdefault(location[:2], set()).update(map(str, location[2:3]))
                for index, element in enumerate(section):
                    if not isinstance(element, dict):
                        continue
                    keys, stand_ins = wrong_keys.get((key, index), set()), self.STAND_INS[key]
                    absent = (stand_ins.keys() - element.keys()) | (keys & stand_ins.keys())
                    unread |= {(key, len(kept), name) for name in keys | absent}
                    kept.append(
                        {name: each for name, each in element.items() if name not in keys}
                        | {name: stand_ins[name] for name in absent}
                    )
                    self._former[key].append(index)
            else:
                unread.add((key,))
        # A section of which nothing is left was not empty.
        unread |= {(key,) for key in self.STAND_INS if self.value.get(key) == [] != value.get(key)}
        self.unread = frozenset(unread)
        """The sections, and the keys of elements, that could not be read."""

    def former(self, location: Location) -> Location:
        """The place in the whole document."""
        match location:
            case (str() as section, int() as index, *path) if section in self._former:
                return (section, self._former[section][index], *path)
        return location
