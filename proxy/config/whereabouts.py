"""Where the configuration file and the control socket are. The command line asks for them at each start, so this module
imports neither YAML nor the schema."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from proxy.config import files
from proxy.errors import ConfigError

SYSTEM_PATH = Path("/etc/pinhole/pinhole.yaml")
"""The configuration file when the command line names none."""

CONTROL = "/run/pinhole/control.sock"
"""The control socket when the configuration names none."""

_MENTIONED = re.compile(rb"^[^#\n]*control", re.MULTILINE)
_PLAIN = re.compile(rb"^control:[ \t]+(/[\w./-]{1,106})[ \t]*(?:#.*)?\r?$", re.MULTILINE)

_COMMANDS = re.compile(r"\bpinhole (?:net (?:up|guard|status)|fastpath|run|reload|doctor)\b")
"""Those that do otherwise by another file."""


def told(file: str | None, text: str) -> str:
    """Advice for a host that serves by this file (None: the built-in configuration): the commands in it name the file,
    unless they would read it anyway."""
    if file is None or (named := in_any_directory(file)) == str(SYSTEM_PATH):
        return text
    return _COMMANDS.sub(lambda command: f"{command[0]} -c {shlex.quote(named)}", text)


def told_by(source: str, text: str) -> str:
    """The same for who is told by a daemon that serves by this `Config.source`."""
    return told(source if os.path.isabs(source) else None, text)


def in_any_directory(file: str) -> str:
    """A name of this file that holds in any directory. `..` stays in it: behind a symbolic link it leads to what is
    above the link's target, so the name without `link/..` would be that of another file."""
    return str(Path(file).absolute())


def chosen(path: str | None) -> str | None:
    """The file for `-c PATH`. None: the built-in configuration."""
    return path if path is not None else str(SYSTEM_PATH) if os.path.exists(SYSTEM_PATH) else None


def likely_control(path: str | None) -> str | None:
    """The path of the control socket, as far as a glance at the files shows it: `control: /PATH` at the margin, or no
    word of it. None: they have to be read as YAML. Where nobody answers it has to be read as well, since the rest of
    the file is not looked at."""
    file = chosen(path)
    if file is None:
        return CONTROL
    try:
        text = b"\n".join(Path(name).read_bytes() for name in files.names(file))
    except (OSError, ConfigError):
        return None
    if not _MENTIONED.search(text):
        return CONTROL
    found = _PLAIN.findall(text)
    return found[0].decode() if len(found) == 1 else None
