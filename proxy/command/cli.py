"""The command `pinhole`. Its exit status is 0 for fine, 1 for no and 2 for wrong usage.

A module that only one command needs is imported in that command: `run` carries no firewall code, `check` no event loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar

import click

from proxy.command import show
from proxy.command.terminal import print_fields, print_json, print_rows, say
from proxy.config import reading
from proxy.config.schema import Config, json_schema
from proxy.errors import ConfigError, PinholeError
from proxy.text import printable

if TYPE_CHECKING:
    from proxy.host.rules import Backend

Command = TypeVar("Command", bound=Callable[..., Any])


class _Group(click.Group):
    """A group of commands that prints what the operator can act on in one line (or one for each problem of a file), and
    ends with status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print what it raises."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                say(problem)
        except PinholeError as error:
            say(f"pinhole: {error}")
        ctx.exit(1)


def _with_config(command: Command) -> Command:
    """Add the option `--config`."""
    where = f"Configuration file. Without: {reading.SYSTEM_PATH} if it exists, else the built-in default."
    return click.option("-c", "--config", "path", metavar="FILE", help=where)(command)


def _with_json(command: Command) -> Command:
    """Add the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="For programs.")(command)


def _with_backend(command: Command) -> Command:
    """Add the option `--backend` with nft as its default."""
    choice = click.Choice(["nft", "iptables"])
    return click.option("--backend", type=choice, default="nft", show_default=True, help="Whose rules.")(command)


def _with_backend_that_stands(command: Command) -> Command:
    """Add the option `--backend`. Its default is the backend whose rules are set up, since rules of both backends at
    once are in each other's way."""
    choice = click.Choice(["nft", "iptables"])
    text = "Whose rules. Without: those that stand; nft, if none do (iptables, where there is no nft)."
    return click.option("--backend", type=choice, default=None, help=text)(command)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    try:
        number = version("pinhole")
    except PackageNotFoundError:
        number = "(not installed)"
    click.echo(f"pinhole {number}")
    ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def main() -> None:
    """Session helpers for Linux routers: protocols that open further connections, through NAT and strict firewalls."""


# -- the daemon --------------------------------------------------------------------------------------------------------


@main.command()
@_with_config
@click.option("--net", is_flag=True, help="Also set up firewall rules and routes, and remove them at the end.")
@_with_backend_that_stands
def run(path: str | None, net: bool, backend: str | None) -> None:
    """Serve until told to stop.

    SIGTERM ends it when transfers are done, SIGHUP reads the configuration again, SIGUSR1 reopens the audit log.
    """
    from proxy.daemon import daemon

    sys.exit(daemon.run(path, _backend(backend) if net else None))


def _ask(path: str | None, method: str, name: str) -> dict[str, Any]:
    """Ask the daemon on its control socket."""
    from proxy.command import client

    return client.ask(reading.control_in_force(path), method, name)


@main.command()
@_with_config
@_with_json
def sessions(path: str | None, as_json: bool) -> None:
    """List the sessions that the daemon carries now."""
    answer = _ask(path, "GET", "sessions")
    if as_json:
        print_json(answer)
    else:
        print_rows(answer.get("sessions", []), title="Sessions", empty="no sessions")


@main.command()
@_with_config
@_with_json
def pinholes(path: str | None, as_json: bool) -> None:
    """List the pinholes that are open now."""
    answer = _ask(path, "GET", "pinholes")
    if as_json:
        print_json(answer)
    else:
        print_rows(answer.get("pinholes", []), title="Pinholes", empty="no pinholes")


@main.command()
@_with_config
@_with_json
def status(path: str | None, as_json: bool) -> None:
    """Say how the daemon is. Exit status 1 when none runs, or when rules or routes are missing that it needs."""
    answer = _ask(path, "GET", "status")
    if as_json:
        print_json(answer)
    else:
        print_fields(answer, title="Status")
    sys.exit(1 if answer.get("state") == "degraded" else 0)


@main.command()
@_with_config
@_with_json
def reload(path: str | None, as_json: bool) -> None:
    """Have the daemon read its configuration again. A wrong one changes nothing; its problems are printed."""
    answer = _ask(path, "POST", "reload")
    if as_json:
        print_json(answer)
    else:
        for text in (*answer.get("problems", []), *answer.get("remarks", [])):
            say(str(text))
        if answer.get("ok"):
            click.echo("reloaded")
    sys.exit(0 if answer.get("ok") else 1)


# -- configuration -----------------------------------------------------------------------------------------------------


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@_with_json
def check(files: tuple[str, ...], as_json: bool) -> None:
    """Check configuration files. Everything wrong is printed, as `file:line:column: path: what is wrong`."""
    results = []
    for file in files:
        try:
            settings = reading.load(file)
            reading.judge_places(file, settings)
        except ConfigError as error:
            results.append({"file": file, "ok": False, "problems": list(error.problems)})
            if not as_json:
                for problem in error.problems:
                    say(problem)
        else:
            results.append({"file": file, "ok": True, "problems": []})
            if not as_json:
                click.echo(f"{printable(file)}: fine ({_counted(settings)})")
    if as_json:
        print_json({"files": results})
    sys.exit(0 if all(result["ok"] for result in results) else 1)


def _counted(settings: Config) -> str:
    """The size of a configuration in a few words."""
    return f"entries in session-helpers: {len(settings.served)}, policies: {len(settings.policies)}"


@main.group("config")
def config_group() -> None:
    """About the configuration file."""


@config_group.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    print_json(json_schema())


@main.group("show")
def show_group() -> None:
    """Show what is configured."""


@show_group.command("session-helper")
@click.argument("number", metavar="[ID]", type=int, required=False)
@_with_config
@_with_json
@click.option("--format", "form", type=click.Choice(["table", "fortios"]), default="table", show_default=True)
def session_helper(number: int | None, path: str | None, as_json: bool, form: str) -> None:
    """Print the session-helper table in force, or one entry of it, and the helpers that exist."""
    if as_json and form == "fortios":
        raise click.UsageError("--json and --format fortios exclude each other")
    settings = reading.in_force(path)
    shown = [entry for entry in settings.helpers if number in (None, entry.id)]
    if number is not None and not shown:
        raise PinholeError(f"the session-helper table of {settings.source} has no entry {number}")
    names = {entry.name for entry in shown}
    helpers = [helper for helper in show.helpers() if number is None or helper["name"] in names]
    if as_json:
        print_json({"source": settings.source, "session_helpers": show.entries(shown), "helpers": helpers})
    elif form == "fortios":
        click.echo(show.fortios(shown, settings.helpers))
    else:
        columns = ("id", "name", "protocol", "port", *(["off"] if not all(entry.enabled for entry in shown) else []))
        print_rows(show.entries(shown), columns, title=f"Session helpers ({settings.source})")
        click.echo()
        _print_helpers(helpers)


def _print_helpers(helpers: list[dict[str, Any]]) -> None:
    """Print the helpers that exist, and their options."""
    for helper in helpers:
        ports = ", ".join(f"{port['port']}/{port['protocol']}" for port in helper["ports"])
        click.echo(f"{helper['name']}: {helper['summary']} (usually {ports})")
    click.echo()
    rows = [
        {"helper": helper["name"], "option": option["name"], **{key: option[key] for key in ("type", "default")}}
        | {"description": option["description"]}
        for helper in helpers
        for option in helper["options"]
    ]
    print_rows(rows, title="Options", empty="no options")


# -- the host ----------------------------------------------------------------------------------------------------------


@main.group("net")
def net_group() -> None:
    """Firewall rules and routes that bring sessions to the daemon. Nothing but our own is ever touched."""


def _backend(name: str | None) -> Backend:
    """The backend of this name. None: the one whose rules are set up."""
    from proxy.host import net
    from proxy.host.rules import Backend

    return net.standing() if name is None else Backend(name)


@net_group.command()
@_with_config
@_with_backend
def plan(path: str | None, backend: str) -> None:
    """Print what `up` would do, as a shell script."""
    from proxy.host import rules

    click.echo(rules.plan(reading.in_force(path), _backend(backend)), nl=False)


@net_group.command()
@_with_config
@_with_backend_that_stands
def up(path: str | None, backend: str | None) -> None:
    """Set rules and routes up, in place of what an earlier `up` left."""
    from proxy.host import net

    net.up(reading.in_force(path), _backend(backend), say)


@net_group.command()
@click.option("-c", "--config", "path", metavar="FILE", help="Not read: what stands is removed, whoever configured it.")
@_with_backend_that_stands
def down(path: str | None, backend: str | None) -> None:
    """Remove our rules and routes; without --backend those of both."""
    from proxy.host import net

    for one in [_backend(backend)] if backend else net.all_standing() or [_backend(None)]:
        net.down(reading.default(), one, say)


@net_group.command("status")
@_with_config
@_with_backend_that_stands
@_with_json
def net_status(path: str | None, backend: str | None, as_json: bool) -> None:
    """Say which parts of the set-up stand. Exit status 1 unless all do."""
    from proxy.host import net

    settings = reading.in_force(path)
    parts = [part._asdict() for part in (*net.status(settings, _backend(backend)), *net.overtaking(settings))]
    is_up = all(part["present"] for part in parts)
    if as_json:
        print_json({"up": is_up, "parts": parts})
    else:
        print_rows(parts, title="Firewall and routing")
    sys.exit(0 if is_up else 1)


@main.command()
@_with_config
@_with_json
def doctor(path: str | None, as_json: bool) -> None:
    """Look for what on this host stands in the way. Exit status 1 when something does."""
    from proxy.doctor import examine
    from proxy.doctor.findings import Level

    found = examine.examine(reading.in_force(path))
    is_well = all(finding.level is not Level.FAIL for finding in found)
    rows = [{**asdict(finding), "level": finding.level.value} for finding in found]
    if as_json:
        print_json({"ok": is_well, "findings": rows})
    else:
        print_rows(rows, title="Doctor", empty="nothing found")
    sys.exit(0 if is_well else 1)
