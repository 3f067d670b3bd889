"""`pinhole explain`: why something is open, was open, or was not let in."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from proxy.command.client import ask_daemon
from proxy.command.columns import wrapped
from proxy.command.lists import ids
from proxy.command.options import with_config, with_json
from proxy.command.terminal import print_json, print_line, width
from proxy.errors import PinholeError
from proxy.text import printable

_FRACTION = re.compile(r"(?<=\.\d{3})\d+")
"""What a time has beyond milliseconds."""
_HOST = re.compile(r"\d+(?:\.\d+){3}|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:%\S+)?\]?")
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}:\d+|\[[0-9A-Fa-f:.]+(?:%\S+)?\]:\d+")


@click.command()
@click.argument("what", metavar="PINHOLE|ADDRESS:PORT", shell_complete=ids("pinholes"))
@click.option("--at", metavar="TIME", help="When, as the audit log writes it. Without: now, else what was.")
@click.option("--client", metavar="ADDRESS[:PORT]", help="Who wants to go there. Policies are asked about it.")
@click.option("--interface", metavar="NAME", help="With --client: by which interface it comes. Without: any.")
@click.option("--transport", type=click.Choice(["tcp", "udp"]), help="With --client.")
@with_config
@with_json
def explain(path: str | None, as_json: bool, what: str, **asked: str | None) -> None:
    """Say why a pinhole is open, and what passes it; after its end, why it was; or why somebody was not let in, and
    the line of configuration that would let him in.

    WHAT is the number of a pinhole, or an address and a port: of a pinhole, of who came, or of where somebody wanted to
    go. An IPv6 address stands in brackets. The exit status is 1 when nothing is known of it.
    """
    if _HOST.fullmatch(what):
        lists = " and ".join(f"`pinhole {name} --address {what.strip('[]')}`" for name in ("pinholes", "refusals"))
        raise PinholeError(f"{what}: name its port as well; {lists} show all that it has to do with")
    subject = "address" if _ADDRESS.fullmatch(what) else "pinhole"
    query = {subject: what} | {name: value for name, value in asked.items() if value is not None}
    answers = ask_daemon(path, "GET", "v1/explain", query).get("answers", [])
    if as_json:
        print_json({"answers": answers})
    else:
        for number, answer in enumerate(answers):
            for text, colour in (*((("", None),) if number else ()), *report(answer, width())):
                print_line(text, colour)
    sys.exit(0 if any(answer["verdict"] != "nothing" for answer in answers) else 1)


def report(answer: Mapping[str, Any], width: int) -> Iterator[tuple[str, str | None]]:
    """An answer as lines of this width, each with its colour."""
    colour = "red" if answer["verdict"] == "refused" else None
    yield from ((text, colour) for text in wrapped(_headline(answer), width))
    for sentence in answer["says"]:
        for number, text in enumerate(wrapped(printable(f"{sentence}."), width, 4)):
            yield f"  - {text[4:]}" if number == 0 else text, None
    for name in ("remedy", "line"):
        if answer.get(name):
            yield from ((text, None) for text in _labelled(name, str(answer[name]), width))


def _labelled(name: str, value: str, width: int) -> list[str]:
    """What helps, and the line of configuration, which stands whole in a line of its own, to be pasted."""
    if name == "remedy":
        return wrapped(printable(f"What helps: {value}."), width, 2)
    return ["  The line of configuration:", f"      {printable(value)}"]


def _headline(answer: Mapping[str, Any]) -> str:
    """The verdict, when it began and ended, and where this is known from."""
    times = [_FRACTION.sub("", str(answer[name])) for name in ("since", "until") if answer.get(name)]
    when = f" since {times[0]}" if answer["verdict"] == "open" and times else f" {' to '.join(dict.fromkeys(times))}"
    count = f", {answer['count']} times" if answer.get("count", 1) > 1 else ""
    return f"{answer['verdict']}{when.rstrip()}{count} (from: {answer['source']})"
