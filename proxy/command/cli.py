"""The command `pinhole`. Its exit status is 0 for fine, 1 for no and 2 for wrong usage.

Each group of commands is a module of this room. It is imported when one of its commands is used, and imports within a
command what only that command needs: `pinhole status` loads neither the schema of the configuration nor an event loop,
`run` no code of the doctor's.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from errno import ENOSPC
from typing import Any

import click

from proxy import version
from proxy.command.terminal import say
from proxy.errors import ConfigError, PinholeError

COMMANDS: Mapping[str, str] = {
    "run": "serving.run",
    "status": "status.status",
    "calls": "lists.calls",
    "registrations": "lists.registrations",
    "sessions": "lists.sessions",
    "pinholes": "lists.pinholes",
    "policies": "lists.policies",
    "limits": "lists.limits",
    "refusals": "lists.refusals",
    "violations": "lists.violations",
    "top": "top.top",
    "explain": "explain.explain",
    "events": "following.events",
    "trace": "following.trace",
    "reload": "changing.reload",
    "close": "closing.close",
    "helper": "switches.helper",
    "check": "configuring.check",
    "config": "configuring.config",
    "import": "importing.foreign",
    "audit": "audit.audit",
    "show": "helpers.show",
    "net": "firewall.net",
    "fastpath": "fastpath.fastpath",
    "doctor": "doctor.doctor",
    "completion": "completion.completion",
}
"""Name of a command -> the module of this room, and what it is called there. A new command is one more line."""


_SECTIONS: Mapping[str, str] = {
    "run": "The daemon",
    "calls": "See",
    "reload": "Change",
    "check": "Configuration",
    "net": "This host",
}
"""Name of a command -> the section of the help that begins with it."""


class _Commands(click.Group):
    """The commands of the table above. It prints what the operator can act on in one line (or one for each problem of a
    file), and ends with status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, from its module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(".")
        command: click.Command = getattr(importlib.import_module(f"proxy.command.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does. Unlike click's own, this cuts no sentence."""
        sections: list[tuple[str, list[tuple[str, str]]]] = []
        for name in COMMANDS:
            if name in _SECTIONS:
                sections.append((_SECTIONS[name], []))
            command = self.get_command(ctx, name)
            assert command is not None
            sections[-1][1].append((name, command.get_short_help_str(200)))
        longest = max(map(len, COMMANDS))
        for title, rows in sections:
            with formatter.section(title):
                formatter.write_dl([(name.ljust(longest), text) for name, text in rows])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print what it raises."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                say(problem)
        except PinholeError as error:
            say(f"pinhole: {error}")
        except OSError as error:
            if error.errno != ENOSPC:
                raise
            say("pinhole: what was to be printed does not fit: no space left on device")
        ctx.exit(1)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    click.echo(f"pinhole {version.installed()}")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def main() -> None:
    """Session helpers for Linux routers: protocols that open further connections, through NAT and strict firewalls."""
