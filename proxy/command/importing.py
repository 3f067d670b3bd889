"""Commands that bring in what another program was configured with."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from proxy.errors import PinholeError

MAX_BYTES = 64 << 20


@click.group("import")
def foreign() -> None:
    """Write a configuration out of that of another program."""


@foreign.command()
@click.argument("file", metavar="FILE")
@click.option("--vdom", metavar="NAME", help="The virtual domain. Without: root, or the first one.")
def fortios(file: str, vdom: str | None) -> None:
    """Print the configuration for what a FortiGate has: its session helpers, and the policies that concern them.

    FILE is a backup, or what `show` prints; `-` is standard input. Each thing that cannot be mapped has a remark. What
    is printed passes `pinhole check`.
    """
    from proxy.fortios.importing import translated

    try:
        data = sys.stdin.buffer.read(MAX_BYTES) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise PinholeError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        text = translated(data[:MAX_BYTES].decode("utf-8", "replace"), vdom)
    except PinholeError as error:
        raise PinholeError(f"{file}: {error}") from error
    click.echo(text, nl=False)
