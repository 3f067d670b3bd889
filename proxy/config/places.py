"""Judges the places of the daemon's files: other users of this host must not be able to put something else there.

Root opens the audit log and makes the control socket. A user who may write into their directory could place a link
there, to a file that root would then write to, or a socket of their own that answers `pinhole status`. A user who may
write the configuration can do what root can.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from proxy.config import whereabouts
from proxy.config.schema import File

Location = tuple[str | int, ...]

_MOST_LINKS = 40
"""Behind more of them the kernel finds nothing (path_resolution(7))."""


def findings(settings: File, files: Sequence[str]) -> Iterator[tuple[Location, str]]:
    """Everything that is wrong with the places that a configuration names, and with those of its own files. Files that
    do not exist yet are not looked at."""
    for where, path in settings.audit.files:
        for text in _of(path):
            yield where, text
    for text in _of(settings.control.path):
        yield ("control",), text
    for number, file in enumerate(files):
        mode = _mode(os.path.realpath(file))
        if mode is not None and stat.S_ISREG(mode) and mode & stat.S_IWOTH:
            whose = f"{file}: " if number else ""
            yield (), f"{whose}everybody may write this file: chmod o-w {file}"
    for file in files:
        if (open_to_all := _replaceable(whereabouts.in_any_directory(file))) is not None:
            yield (), f"everybody may put another file in its place: {open_to_all} is writable by all"
            break


def _of(path: str) -> Iterator[str]:
    """What is wrong with the place of one file."""
    directory = os.path.dirname(path)
    mode = _mode(os.path.realpath(directory))
    if mode is not None and mode & stat.S_IWOTH:
        yield f"everybody may write into {directory}, and so put a link in the place of {os.path.basename(path)}"
    elif (open_to_all := _replaceable(directory)) is not None:
        yield f"everybody may put another directory in the place of {directory}: {open_to_all} is writable by all"
    mode = _mode(path)
    if mode is not None and stat.S_ISLNK(mode):
        yield "is a symbolic link, which is not followed: name the file itself"


def _replaceable(path: str) -> str | None:
    """The first directory on the way to this path in which any user may rename what another user made."""
    for directory in _on_the_way(path):
        mode = _mode(directory)
        if mode is not None and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return directory
    return None


def _on_the_way(path: str) -> Iterator[str]:
    """The directories in which the names of an absolute path are looked up, as the kernel does: behind a symbolic link
    its target's (path_resolution(7)). All may write to a link by its mode, which says nothing; whoever may write into
    the directory that it is in can put another one there."""
    at, links, left = "/", 0, path.split("/")[::-1]
    while left:
        name = left.pop()
        if name == "..":
            at = os.path.dirname(at)
        elif name not in ("", "."):
            yield at
            below = os.path.join(at, name)
            try:
                target = os.readlink(below)
            except OSError:  # it is no link, or is not there yet
                at = below
                continue
            links += 1
            if links > _MOST_LINKS:
                return
            if target.startswith("/"):
                at = "/"
            left += target.split("/")[::-1]


def _mode(path: str) -> int | None:
    """The mode of a file. None: there is no such file."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None
