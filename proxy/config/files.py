"""The files of a configuration: the main file, and those of the folder `conf.d` beside it.

    /etc/pinhole/pinhole.yaml
    /etc/pinhole/conf.d/10-lan.yaml     read after the main file, in the order of their names
    /etc/pinhole/conf.d/20-pbx.yaml

The command line looks here at each start, so this module imports neither YAML nor the schema.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import ConfigError

PARTS = "conf.d"
"""The folder of further files."""

MAX_BYTES = 4 << 20
"""How much is read of all files together. Reading YAML takes seconds a megabyte; a table of thousands of policies has
some hundred kilobytes."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was read."""

    name: str
    data: bytes


Gather = Callable[[str], list[Source]]
"""A function that reads the files of the configuration at a path."""


def names(path: str | Path) -> list[str]:
    """The main file, and the files of `conf.d` in the order in which they are read. Raises ConfigError."""
    folder = os.path.join(os.path.dirname(path), PARTS)
    try:
        parts = sorted(one for one in os.listdir(folder) if one.endswith(".yaml") and not one.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return [str(path)]
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be read: {error.strerror}"]) from error
    return [str(path), *(os.path.join(folder, one) for one in parts)]


def passed_over(path: str | Path) -> list[str]:
    """Files of `conf.d` that are not read, though somebody may mean them to be: those whose names end in `.yml`."""
    folder = Path(path).parent / PARTS
    return sorted(str(one) for one in folder.glob("*.yml")) if folder.is_dir() else []


def gather(path: str | Path) -> list[Source]:
    """Read the files of the configuration at this path. Raises ConfigError when one cannot be read."""
    found: list[Source] = []
    left = MAX_BYTES
    for name in names(path):
        try:
            with open(name, "rb") as file:
                found.append(Source(name, file.read(left + 1)))
        except OSError as error:
            raise ConfigError([f"{name}: cannot be read: {error.strerror}"]) from error
        left -= len(found[-1].data)
        if left < 0:
            raise ConfigError([f"{name}: larger than {MAX_BYTES >> 20} MiB"])
    return found


def pack(sources: Sequence[Source]) -> int:
    """A descriptor by which another process gets these files: who may read them passes them to one that may not."""
    descriptor = os.memfd_create("pinhole-configuration")
    with open(descriptor, "w", encoding="ascii", closefd=False) as file:
        json.dump([[one.name, one.data.decode("latin-1")] for one in sources], file)
    return descriptor


def unpack(descriptor: int) -> list[Source]:
    """The files behind a descriptor, which is closed."""
    with open(descriptor, encoding="ascii") as file:
        file.seek(0)
        return [Source(name, data.encode("latin-1")) for name, data in json.load(file)]
