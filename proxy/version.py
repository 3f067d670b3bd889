"""Which version of pinhole this is."""

from __future__ import annotations

from functools import cache

DISTRIBUTION = "pinhole-gateway"
"""The name under which pinhole is installed. The command is `pinhole`, but packages of that name are others: on PyPI,
and in Debian (a camera)."""


@cache
def installed() -> str:
    """The version of the installed distribution; "unknown" in a checkout that is not installed. It is looked for once:
    the daemon asks before it becomes a user who may not be able to read it."""
    # This takes as long as all the rest of a small command, so it is imported when somebody asks.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
