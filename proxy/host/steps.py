"""A command of the set-up, which is run, shown to people or printed as a script."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the set-up, and its input."""

    command: tuple[str, ...]
    stdin: str = ""
    unless: tuple[str, ...] = ()
    """A command that succeeds when there is nothing to do."""
    version: int | None = None
    """The IP version that the step is for. None: both."""
    why: str = ""
    """The reason, as a comment in the printed script."""
    what: str = ""
    """What the step does, where its command does not say it to a reader."""

    def __str__(self) -> str:
        """The step in one line, for people."""
        return self.what or " ".join(self.command)

    def shell(self) -> str:
        """The step as lines of POSIX shell."""
        line = shlex.join(self.command)
        if self.unless:
            line = f"{shlex.join(self.unless)} 2>/dev/null || {line}"
        return f"{line} <<'EOF'\n{self.stdin}EOF\n" if self.stdin else f"{line}\n"
