"""The lists of events and rules in `configs/README.md`, made from the catalogue: `python -m tools.catalogue`.

Each list stands between two lines of that file, `<!-- catalogue: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from proxy.record import catalogue
from proxy.record.events import sessions
from proxy.record.events.budgets import Budget
from proxy.record.events.row import Event, Field
from proxy.record.events.rules import RULES

README = Path(__file__).resolve().parents[1] / "configs" / "README.md"
_PLACE = re.compile(r"(<!-- catalogue: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    README.write_text(filled(README.read_text()))


def filled(text: str) -> str:
    """The text with its lists as the catalogue has them now."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{LISTS[found[2]]()}\n{found[3]}", text)


def _every_line() -> str:
    """What every line has."""
    return _table(("field", "what it says"), ((f"`{one.name}`", one.text) for one in catalogue.EVERY))


def _every_session() -> str:
    """What lines about a session have as well."""
    return _table(("field", "what it says"), ((f"`{one.name}`", one.text) for one in sessions.SESSION))


def _events() -> str:
    """Lines about sessions and peers."""
    return _list(event for event in catalogue.EVENTS.values() if event.scope != "daemon")


def _of_daemon() -> str:
    """Lines about the daemon itself."""
    return _list(event for event in catalogue.EVENTS.values() if event.scope == "daemon")


def _rules() -> str:
    """The rules of `violation`. Neighbours of which the same is said share a row."""
    together = groupby(RULES, RULES.__getitem__)
    return _table(("rule", "what happened"), ((", ".join(map("`{}`".format, names)), text) for text, names in together))


def _budgets() -> str:
    """How many lines there may be of the events that have a bound. Events with the same one share a row."""
    together: dict[Budget, list[str]] = {}
    for name, budget in catalogue.BUDGETS.items():
        together.setdefault(budget, []).append(f"`{name}`")
    rows = ((", ".join(names), _at_most(budget)) for budget, names in together.items())
    return _table(("events", "at most of each"), rows)


def _at_most(budget: Budget) -> str:
    """A budget in words."""
    text = f"{budget.lines} a {_SPANS[budget.seconds]}"
    if not budget.for_all:
        text += " of one client"
    if budget.in_all is not None:
        text += f", and {budget.in_all} a second of all"
    return f"{text}, for each `{budget.of}`" if budget.of else text


_SPANS = {1.0: "second", 60.0: "minute"}

LISTS: Mapping[str, Callable[[], str]] = {
    "every_line": _every_line,
    "every_session": _every_session,
    "events": _events,
    "daemon": _of_daemon,
    "rules": _rules,
    "budgets": _budgets,
}
"""Name of a list -> what makes it."""


def _list(events: Iterable[Event]) -> str:
    """A row for each event."""
    rows = ((f"`{event.name}`", event.severity, _names(event), _said(event)) for event in events)
    return _table(("event", "severity", "further fields", "when it is written, and what its fields say"), rows)


def _names(event: Event) -> str:
    """The fields of an event; those that may be left out in brackets."""
    return ", ".join(f"[`{one.name}`]" if one.is_optional else f"`{one.name}`" for one in event.fields)


def _said(event: Event) -> str:
    return ". ".join([event.when, *map(_of_field, filter(lambda one: one.text, event.fields))])


def _of_field(one: Field) -> str:
    return f"`{one.name}`: {one.text}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(_rows([head, tuple("---" for _ in head), *rows]))


def _rows(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"


if __name__ == "__main__":
    main()
