"""Where files of the daemon may be: not where others of this host can put something else in their place.

The audit log is opened, and the control socket made, by root. Whoever may write into their directory may have a link
waiting there, to a file that root would then write to, or a socket of his own that answers `pinhole status`. Whoever
may write the configuration may do what root can.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from proxy.config.schema import Config

Location = tuple[str | int, ...]


def findings(settings: Config, file: str) -> Iterator[tuple[Location, str]]:
    """Everything wrong with the places that a configuration names, and with its own. What does not exist yet is not
    looked at."""
    if settings.audit.is_file:
        for text in _of(settings.audit.to):
            yield ("audit", "to"), text
    for text in _of(settings.control):
        yield ("control",), text
    mode = _mode(file)
    if mode is not None and stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        yield (), f"everybody may write this file: chmod o-w {file}"
    if (open_to_all := _replaceable(os.path.dirname(os.path.abspath(file)))) is not None:
        yield (), f"everybody may put another file in its place: {open_to_all} is writable by all"


def _of(path: str) -> Iterator[str]:
    directory = os.path.dirname(path)
    mode = _mode(directory)
    if mode is not None and mode & stat.S_IWOTH:
        yield f"everybody may write into {directory}, and so put a link in the place of {os.path.basename(path)}"
    elif (open_to_all := _replaceable(os.path.dirname(directory))) is not None:
        yield f"everybody may put another directory in the place of {directory}: {open_to_all} is writable by all"
    mode = _mode(path)
    if mode is not None and stat.S_ISLNK(mode):
        yield "is a symbolic link, which is not followed: name the file itself"


def _replaceable(directory: str) -> str | None:
    """The first directory from here upwards in which everybody may rename what others made."""
    while True:
        mode = _mode(directory)
        if mode is not None and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return directory
        above = os.path.dirname(directory)
        if above == directory:
            return None
        directory = above


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None
