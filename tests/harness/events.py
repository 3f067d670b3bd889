"""Every line of the audit log that a test sees is one that the catalogue knows (`proxy/record/catalogue.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protocols.contract.effects import Effect, Note
from proxy.record.catalogue import OF_LOG, OF_SESSION, faults
from proxy.record.render import plain

FAULTS: list[str] = []
"""What was wrong with lines that were written where nobody would hear of an assertion. `tests/conftest.py` tells."""


def written(line: dict[str, Any]) -> None:
    """A line of a shell, whose log adds nothing by itself; that of a session, what is bound to it."""
    FAULTS.extend(faults(line, OF_LOG if "session" in line else OF_SESSION))


def noted(effects: Iterable[Effect]) -> None:
    """What an engine notes, of which the session knows the rest."""
    for effect in effects:
        if isinstance(effect, Note):
            wrong = faults({"event": effect.event, **plain(effect.facts)}, OF_SESSION)
            assert not wrong, wrong
