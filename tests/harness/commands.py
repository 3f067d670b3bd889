"""The command `pinhole`, as a test calls it: in its own process, with what it prints kept."""

from __future__ import annotations

from click.testing import CliRunner, Result

from proxy.command.cli import main


def pinhole(*arguments: object, stdin: str | None = None) -> Result:
    """What the command with these words has printed, and its exit status. Nothing but that status may leave it."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result
