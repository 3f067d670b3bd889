"""The configuration in force: a file is read and judged as a whole, and everything that is wrong with it is reported
together.

    text --marks--> plain values + the place of each --pydantic--> File --checks--> Config | ConfigError

The checks know the schema, and only this file knows the checks. So the schema can be used without a file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proxy.config import checks, marks, places, schema
from proxy.config.schema import Config, File, Policy
from proxy.config.whereabouts import chosen
from proxy.config.wording import problems as in_words
from proxy.errors import ConfigError

_MAX_FILE_BYTES = 4 << 20
"""The largest file that is read. Reading YAML takes seconds a megabyte; a table of thousands of policies has some
hundred kilobytes."""


def default() -> Config:
    """The built-in configuration: private networks may go anywhere, no NAT, every helper on its usual ports."""
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918; RFC 4193
    return Config(policies=(Policy(name="private", sources=tuple(map(ip_network, private)), accept=True),))


def in_force(path: str | None, opener: Opener | None = None) -> Config:
    """The configuration for `-c PATH`; without a path the system's file, otherwise the built-in one. `opener` opens the
    file, if this process does not do so itself. Raises ConfigError."""
    file = chosen(path)
    return load(file, opener) if file is not None else default()


def control_in_force(path: str | None) -> str:
    """The path of the control socket of a daemon with that configuration. Other mistakes in the file do not matter,
    since they are a reason to ask the daemon. Raises ConfigError when the path cannot be known."""
    file = chosen(path)
    if file is None:
        return default().control
    document = _read(file)
    if isinstance(document.value, dict):
        own = {key: document.value[key] for key in ("control",) if key in document.value}
        with contextlib.suppress(ValidationError):
            return _validate({"policies": [], **own}).control
    return load(file).control


Opener = Callable[[str, int], int]
"""A function as open() takes it: it gives a descriptor for a path and flags."""


def load(path: str | Path, opener: Opener | None = None) -> Config:
    """Read a configuration file. Raises ConfigError with everything that is wrong with it, in the order of the file."""
    document = _read(path, opener)
    settings, problems = _examine(document)
    if problems or settings is None:
        raise ConfigError(marks.render(str(path), problems))
    return Config(**dict(settings), source=str(path))


def judge_places(path: str, settings: Config) -> None:
    """Check that the configured files are where only the right users may put them. Raises ConfigError."""
    document = _read(path)
    problems = [document.problem(location, text) for location, text in places.findings(settings, path)]
    if problems:
        raise ConfigError(marks.render(path, problems))


def _read(path: str | Path, opener: Opener | None = None) -> marks.Document:
    """Read a file as YAML. Raises ConfigError when it cannot be read at all."""
    name = str(path)
    try:
        with open(path, "rb", opener=opener) as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{name}: cannot be read: {error.strerror}"]) from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError([f"{name}: larger than {_MAX_FILE_BYTES >> 20} MiB"])
    return marks.read(data)


def _examine(document: marks.Document) -> tuple[File | None, list[marks.Problem]]:
    """The configuration, if it can be judged, and all its problems."""
    problems = list(document.problems)
    if document.root is None:
        return None, problems or [document.problem((), "the file is empty; it needs `policies` at least")]
    if not isinstance(document.value, dict):
        return None, problems or [document.problem((), "expected keys and values, `policies: ...` at least")]
    broken: list[marks.Location] = []
    try:
        settings = _validate(document.value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += in_words(document, details)
        broken = [detail["loc"] for detail in details]
    # Broken parts are set aside, so that the rest can still be judged as a whole.
    rest, indexes = _without(document.value, broken)
    try:
        settings = _validate(rest)
    except ValidationError:
        return None, problems
    incomplete = {location[0] for location in broken}
    complete_table = checks.ENTRIES not in incomplete
    for (section, *path), text in checks.findings(settings, schema.REGISTRY, table_complete=complete_table):
        if not path and section in incomplete:
            continue  # the section is empty because its elements were set aside
        if path and section in indexes:
            path[0] = indexes[str(section)][int(path[0])]
        problems.append(document.problem((section, *path), text))
    return settings, problems


def _validate(value: dict[str, Any]) -> File:
    """Check values as pydantic checks JSON: there it is strict about types, and yet takes lists, words and numbers for
    types of ours."""
    return File.model_validate_json(json.dumps(value), strict=True, by_alias=True, by_name=False)


def _without(value: dict[str, Any], broken: Sequence[marks.Location]) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The document without its broken list elements and sections, and the former indexes of the elements that stay."""
    rest: dict[str, Any] = {"policies": []}
    indexes: dict[str, list[int]] = {}
    elements = {location[:2] for location in broken if len(location) > 1}
    for key, section in value.items():
        if isinstance(section, list):
            indexes[key] = [index for index in range(len(section)) if (key, index) not in elements]
            section = [section[index] for index in indexes[key]]
        elif any(location[0] == key for location in broken):
            continue
        if (key,) not in broken:
            rest[key] = section
    return rest, indexes
