"""The manual pages, made from what the program says of itself: `python -m tools.manpages DIRECTORY`.

pinhole(8)        the commands, from their own help
pinhole.yaml(5)   the configuration, from its JSON Schema
pinhole-audit(5)  the lines of the audit log, from the catalogue of events
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from proxy.command.cli import COMMANDS, main
from proxy.command.helper_table import type_of
from proxy.config.schema import json_schema
from proxy.record import catalogue
from proxy.record.events import sessions
from proxy.record.events.row import Event, Field
from proxy.record.events.rules import RULES
from tools import roff
from tools.roff import Page

Schema = Mapping[str, Any]

_SHARED = 3
"""What so many commands have is described once."""


def commands() -> str:
    """pinhole(8)."""
    page = Page("pinhole", 8, "session helpers for Linux routers")
    page.section("SYNOPSIS")
    page.paragraph("`pinhole` [`--version`] COMMAND [ARGUMENTS]")
    page.section("DESCRIPTION")
    page.paragraph(
        "pinhole reads protocols that open further connections (FTP, SIP, RTSP, TFTP, NFS and others), and lets just "
        "these connections through NAT and strict firewalls. No firewall rule changes while it runs."
    )
    page.paragraph("`pinhole run` is the daemon. The other commands ask it, set up its rules, or look at the host.")
    contexts = list(each_command())
    options = Counter(option for context in contexts for option in _options(context))
    shared = [option for option, count in options.items() if count >= _SHARED]
    page.section("COMMANDS")
    for context in contexts:
        _command(page, context, shared)
    page.section("OPTIONS OF SEVERAL COMMANDS")
    for names, says in shared:
        page.entry(f"`{names}`", says)
    page.section("EXIT STATUS")
    page.entry("`0`", "Fine.")
    page.entry("`1`", "No, or not: what was asked for is not so, is not there, or could not be done.")
    page.entry("`2`", "Wrong usage.")
    page.section("ENVIRONMENT")
    page.entry("`COLUMNS`", "How wide output is. Without: the terminal, or 80.")
    page.entry("`NO_COLOR`", "If it is set, nothing has a colour.")
    page.section("SIGNALS")
    page.entry("`SIGTERM`, `SIGINT`", "End when transfers are done; a second one ends them.")
    page.entry("`SIGHUP`", "Read the configuration again.")
    page.entry("`SIGUSR1`", "Open the audit log again, after rotation.")
    page.section("FILES")
    page.entry("`/etc/pinhole/pinhole.yaml`", "The configuration, unless `-c` names another.")
    page.entry("`/etc/pinhole/conf.d/*.yaml`", "Further parts of it, in the order of their names.")
    page.entry("`/run/pinhole/control.sock`", "Where commands reach the daemon, unless `control` names another place.")
    page.section("SEE ALSO")
    page.paragraph("pinhole.yaml(5), pinhole-audit(5), nft(8), ip-rule(8)")
    return page.text()


def each_command() -> Iterator[click.Context]:
    """Each command, those of groups as well."""
    context = main.make_context("pinhole", [], resilient_parsing=True)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        outer = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                yield click.Context(one, parent=outer, info_name=inner)
        else:
            yield outer


def _options(context: click.Context) -> Iterator[tuple[str, str]]:
    """The options of a command: their names, and what they do."""
    for parameter in context.command.params:
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            yield record


def _command(page: Page, context: click.Context, shared: Collection[tuple[str, str]]) -> None:
    page.subsection(" ".join([context.command_path, *context.command.collect_usage_pieces(context)[1:]]))
    page.prose(context.command.help or "")
    also = []
    for names, says in _options(context):
        if (names, says) in shared:
            also.append(f"`{names}`")
        else:
            page.entry(f"`{names}`", says)
    if also:
        page.paragraph(f"Also {', '.join(also)}.")


def configuration() -> str:
    """pinhole.yaml(5)."""
    schema = json_schema()
    page = Page("pinhole.yaml", 5, "configuration of pinhole")
    page.section("DESCRIPTION")
    page.paragraph(
        "The configuration is YAML: keys with values, lists, and mappings of keys. What is left out has its default; a "
        "key that is not known is an error. `pinhole check` says all that is wrong with a file, and where."
    )
    page.paragraph("Files in `conf.d` beside the main file are read after it, in the order of their names.")
    page.paragraph(
        "`${NAME}` in a value is a variable of the environment, `${NAME:-default}` has a default, and `$${` is `${` "
        "itself. A time is a number of seconds, or has a unit: `90s`, `3m`, `2h`, `1d`."
    )
    page.section("KEYS")
    _keys(page, schema, schema, "")
    page.section("EXAMPLE")
    page.verbatim(
        "policies:\n  - name: lan-out\n    from: lan0\n    source: 192.168.1.0/24\n    action: accept\n"
        "    snat: interface\n    options:\n      ftp: {tls: deny}"
    )
    page.section("SEE ALSO")
    page.paragraph("pinhole(8), pinhole-audit(5)")
    return page.text()


def _keys(page: Page, root: Schema, node: Schema, prefix: str) -> None:
    """The keys of a mapping, and those within them. A key within a list has `[]` before it."""
    for name, field in node["properties"].items():
        inner = _definition(root, field)
        path = f"{prefix}{name}"
        facts = [] if "properties" in inner else [type_of(field)]
        if name in node.get("required", ()):
            facts.append("required")
        elif "properties" not in inner and field.get("default") not in (None, []):
            facts.append(f"default {_written(field['default'])}")
        said = field.get("description") or inner.get("description") or ""
        page.entry(f"`{path}`", roff.joined(f"({', '.join(facts)})" if facts else "", said))
        if "properties" in inner:
            _keys(page, root, inner, f"{path}.")
        elif "$ref" in field.get("items", {}):
            _keys(page, root, _definition(root, field["items"]), f"{path}[].")


def _definition(root: Schema, node: Schema) -> Schema:
    """What a reference refers to, or the node itself."""
    found: Schema = root["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found


def _written(value: Any) -> str:
    """A default as one writes it in YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return str(value).removesuffix(".0")


def audit_log() -> str:
    """pinhole-audit(5)."""
    page = Page("pinhole-audit", 5, "lines of the audit log of pinhole")
    page.section("DESCRIPTION")
    page.paragraph(
        "Each line is a JSON object that tells of one event. `pinhole audit schema` prints the JSON Schema of all of "
        "them. Fields in brackets are left out where they mean nothing."
    )
    page.section("FIELDS OF EVERY LINE")
    _fields(page, catalogue.EVERY)
    page.section("FIELDS OF LINES ABOUT A SESSION")
    _fields(page, sessions.SESSION)
    page.section("EVENTS")
    for event in catalogue.EVENTS.values():
        _event(page, event)
    page.section("RULES")
    page.paragraph("What the field `rule` of a `violation` may be.")
    for name, said in RULES.items():
        page.entry(f"`{name}`", _sentence(said))
    page.section("SEE ALSO")
    page.paragraph("pinhole(8), pinhole.yaml(5)")
    return page.text()


def _event(page: Page, event: Event) -> None:
    page.subsection(f"{event.name} ({event.severity})")
    page.paragraph(_sentence(event.when))
    _fields(page, event.fields)


def _fields(page: Page, fields: tuple[Field, ...]) -> None:
    for field in fields:
        name = f"[`{field.name}`]" if field.is_optional else f"`{field.name}`"
        page.entry(name, _sentence(field.text) if field.text else type_of(field.schema))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


PAGES: Mapping[str, Callable[[], str]] = {
    "pinhole.8": commands,
    "pinhole.yaml.5": configuration,
    "pinhole-audit.5": audit_log,
}
"""Name of the file -> what makes it."""


def write(directory: Path) -> Iterator[Path]:
    """Write all pages, and tell where."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        path = directory / name
        path.write_text(make())
        yield path


if __name__ == "__main__":
    for written in write(Path(sys.argv[1] if len(sys.argv) > 1 else ".")):
        print(written)
