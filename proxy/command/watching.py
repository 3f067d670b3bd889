"""`--watch`: what a command shows, again and again."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

import click

_CLEAR = "\x1b[H\x1b[J"
"""The cursor goes home, and all below it goes away."""


def watch(show: Callable[[], None], seconds: float | None) -> None:
    """Show it each so many seconds until interrupted; once, without a number. On a terminal each takes the place of the
    last; elsewhere an empty line stands between them."""
    if seconds is None:
        show()
        return
    between = ""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            click.echo(_CLEAR if sys.stdout.isatty() else between, nl=False, color=True)
            show()
            sys.stdout.flush()
            between = "\n"
            time.sleep(seconds)
