"""Commands that list what the daemon carries: `pinhole sessions`, `calls` and the like. With an ID, one in detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from proxy.command.client import ask_daemon
from proxy.command.options import FILTERS, with_config, with_filters, with_json, with_watch, with_wide
from proxy.command.terminal import print_fields, print_json, print_rows
from proxy.command.watching import watch
from proxy.errors import PinholeError

Row = dict[str, Any]


def _list(name: str, columns: Sequence[str], says: str, filters: Sequence[str] = tuple(FILTERS)) -> click.Command:
    """The command of this name. columns: what is shown where there is little room, addresses last."""

    @with_config
    @with_json
    @with_wide
    @with_watch
    @with_filters(filters)
    def command(
        path: str | None, as_json: bool, is_wide: bool, seconds: float | None, query: Mapping[str, str]
    ) -> None:
        show = partial(_show_all, name, columns, path, as_json, is_wide, query)
        watch(show, seconds)

    return click.command(name, help=says)(command)


def _list_with_detail(name: str, columns: Sequence[str], says: str, detail: Callable[[Row], None]) -> click.Command:
    """The same, which takes an ID as well."""

    @click.argument("key", metavar="[ID]", required=False, shell_complete=ids(name))
    @with_config
    @with_json
    @with_wide
    @with_watch
    @with_filters(tuple(FILTERS))
    def command(
        key: str | None,
        path: str | None,
        as_json: bool,
        is_wide: bool,
        seconds: float | None,
        query: Mapping[str, str],
    ) -> None:
        if key is None:
            show = partial(_show_all, name, columns, path, as_json, is_wide, query)
        elif query:
            raise click.UsageError("an ID names one; filters are for lists")
        else:
            show = partial(_show_one, name, key, path, as_json, detail)
        watch(show, seconds)

    return click.command(name, help=says)(command)


def ids(name: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """The IDs of a list that begin as what was typed, for a shell that completes words."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
        try:
            rows = ask_daemon(context.params.get("path"), "GET", f"v1/{name}", {"limit": "1000"}).get(name, [])
        except PinholeError:
            return []
        return [text for text in (str(row.get("id")) for row in rows) if text.startswith(begun)]

    return complete


def _show_all(
    name: str, columns: Sequence[str], path: str | None, as_json: bool, is_wide: bool, query: Mapping[str, str]
) -> None:
    answer = ask_daemon(path, "GET", f"v1/{name}", query)
    rows = answer.get(name, [])
    if as_json:
        print_json({name: [_with_old_names(name, row) for row in rows]})
    else:
        print_rows([_in_words(row) for row in rows], () if is_wide else columns, empty=f"no {name}", is_wide=is_wide)


def _show_one(name: str, key: str, path: str | None, as_json: bool, detail: Callable[[Row], None]) -> None:
    answer = ask_daemon(path, "GET", f"v1/{name}/{key}")
    if as_json:
        print_json(answer)
    else:
        detail(_in_words(answer))


def _in_words(row: Row) -> Row:
    """A row for people: what carries the packets of a pinhole belongs to its state."""
    if "in_kernel" not in row:
        return row
    shown = {name: value for name, value in row.items() if name != "in_kernel"}
    return {**shown, "state": f"{row['state']} (kernel)"} if row["in_kernel"] else shown


def _with_old_names(name: str, row: Row) -> Row:
    """A row as programs have known it from before there were versions, beside its names of today."""
    match name:
        case "sessions":
            return {"session": row.get("id"), **row}
        case "pinholes":
            ends = {name: row.get(name) or "not known yet" for name in ("listen", "target")}
            return {"pinhole": row.get("id"), **row, **ends}
        case _:
            return row


def _with_pinholes(row: Row) -> None:
    """Print a session or a call, and the pinholes that are open for it."""
    print_fields({name: value for name, value in row.items() if name != "open"})
    click.echo()
    print_rows([_in_words(each) for each in row.get("open", [])], PINHOLE_COLUMNS, empty="no pinholes are open for it")


SESSION_COLUMNS = ("id", "helper", "state", "age_seconds", "client", "server")
PINHOLE_COLUMNS = ("id", "purpose", "state", "expires_seconds", "session", "listen", "peer")
CALL_COLUMNS = ("id", "state", "duration_seconds", "from", "to")

sessions = _list_with_detail(
    "sessions", SESSION_COLUMNS, "List the sessions that the daemon carries now, or show one with its pinholes.",
    _with_pinholes,
)  # fmt: skip
pinholes = _list_with_detail(
    "pinholes", PINHOLE_COLUMNS, "List the pinholes that are open now, or show one.", print_fields
)
calls = _list_with_detail(
    "calls", CALL_COLUMNS, "List the calls that are under way, or show one with the pinholes of its media.",
    _with_pinholes,
)  # fmt: skip
registrations = _list(
    "registrations", ("expires_seconds", "contact", "known_as", "aor"),
    "List the phones that can be called, and by which address others know them.",
    ("helper", "client", "server", "address", "policy", "older", "younger", "text", "limit"),
)  # fmt: skip
policies = _list(
    "policies", ("position", "policy", "action", "sessions", "pinholes", "source", "destination"),
    "List the policies in force, in their order.", ("policy", "text", "limit"),
)  # fmt: skip
limits = _list(
    "limits", ("limit", "used", "most", "used_percent", "by"), "List the limits, and how far they are used.",
    ("text", "limit"),
)  # fmt: skip
_HAPPENED = ("helper", "client", "server", "address", "policy", "older", "younger", "text", "limit")
refusals = _list(
    "refusals", ("age_seconds", "count", "reason", "client", "server"),
    "List what was not let in within the last hour: sessions, pinholes, calls, registrations. Why, and the line of "
    "configuration that would let it in, says `pinhole explain ADDRESS:PORT`.",
    ("event", "reason", *_HAPPENED),
)  # fmt: skip
violations = _list(
    "violations", ("age_seconds", "count", "rule", "client", "detail"),
    "List what peers did within the last hour that they may not.", ("rule", *_HAPPENED),
)  # fmt: skip
