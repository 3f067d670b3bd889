"""What operators change by the control socket. Each change has a line in the audit log that says who did it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from protocols.contract.addresses import Network
from proxy.control import rows, switches
from proxy.control.errors import Wrong, unknown
from proxy.control.filters import matcher, parameters_of
from proxy.control.gateway import Gateway
from proxy.control.parameters import Parameter, Type
from proxy.control.routes import Asked, Peer
from proxy.control.shapes import Field, Kind, Row, Shape
from proxy.sessions.session import Session
from proxy.sessions.switches import Switch

REASON = "closed_by_operator"
AT_ONCE = 64
"""So many are ended before others have their turn."""

CLOSED = Shape(
    "closed",
    "What was ended.",
    {
        "closed": Field(Kind.WORDS, "The ids, in the order in which they ended"),
        "of": Field(Kind.WORD, "Of what: sessions, pinholes, calls or registrations"),
    },
)

KINDS = {
    "sessions": rows.SESSION,
    "pinholes": rows.PINHOLE,
    "calls": rows.CALL,
    "registrations": rows.REGISTRATION,
}


def _parameters() -> tuple[Parameter, ...]:
    """The filters of all lists that something can be closed of."""
    own = {
        "id": Parameter("id", Type.TEXT, "The `id` of what is to end; `of` says of which list. Left out: of any"),
        "of": Parameter("of", Type.TEXT, "The list whose filters are given", words=tuple(KINDS)),
    }
    for shape in KINDS.values():
        own |= {one.name: one for one in parameters_of(shape) if one.name not in own}
    return tuple(own.values())


PARAMETERS = _parameters()


class Changes:
    """What may be changed while the daemon runs."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.sessions.switches.ran_out = self._ran_out

    async def reload(self, asked: Asked) -> Row:
        """Read the configuration again, or only say what that would change."""
        is_dry = asked.query.get("dry_run", False)
        answer = await self._gateway.reload(is_dry)
        if not is_dry:
            self.told(asked.peer, "reload", "in force" if answer.get("ok") else "rejected")
        return answer

    def told(self, peer: Peer, what: str, about: str) -> None:
        """Write down who has changed something."""
        self._gateway.log.write("control.changed", what=what, about=about, uid=peer.uid, gid=peer.gid, pid=peer.pid)

    # -- switches ------------------------------------------------------------------------------------------------------

    def throw(self, asked: Asked) -> Row:
        """A helper is off, or only observes, for one client or for all. Raises Wrong."""
        helper, client = self._switch_asked(asked)
        seconds = asked.query.get("for")
        if seconds == 0:
            raise Wrong(400, "bad_parameter", "for: no time at all", "for is longer than 0; DELETE takes a switch back")
        thrown = self._gateway.sessions.switches.throw(helper, asked.query["mode"], client, seconds)
        row = switches.row_of(thrown, self._gateway.now)
        self.told(asked.peer, "switch", switches.in_words(row))
        return row

    def take_back(self, asked: Asked) -> Row:
        """The helper works as it is configured again. Raises Wrong."""
        helper, client = self._switch_asked(asked)
        thrown = self._gateway.sessions.switches
        found = next((one for one in thrown if (one.helper, one.client) == (helper, client)), None)
        if found is None:
            raise unknown("switch", helper, "GET /v1/switches lists them; name its client as well")
        row = switches.row_of(found, self._gateway.now)
        thrown.take_back(helper, client)
        self.told(asked.peer, "unswitch", switches.in_words(row))
        return row

    def _ran_out(self, switch: Switch) -> None:
        """The time of a switch is over."""
        row = switches.row_of(switch, self._gateway.now)
        facts = {name: row[name] for name in ("helper", "mode", "client")}
        self._gateway.log.write("switch.ended", **facts)

    def _switch_asked(self, asked: Asked) -> tuple[str, Network | None]:
        helper = str(asked.query["helper"])
        if helper not in self._gateway.helpers:
            raise unknown("helper", helper, f"there are: {', '.join(self._gateway.helpers)}")
        return helper, switches.network(asked.query.get("client"))

    # -- closing -------------------------------------------------------------------------------------------------------

    async def close(self, asked: Asked) -> Row:
        """End what has this id, or what the filters let through. Raises Wrong."""
        query = dict(asked.query)
        of = query.pop("of", None) or self._list_with(query)
        filters = {name: value for name, value in query.items() if name != "limit"}
        if not filters:
            raise Wrong(400, "missing_parameter", "that would end everything", "give an id or filters")
        known = {one.name for one in parameters_of(KINDS[of])}
        if strange := sorted(query.keys() - known - {"id"}):
            remedy = f"there are: {', '.join(sorted(known))}"
            raise Wrong(400, "unknown_parameter", f"{of} have no {strange[0]}", remedy)
        is_wanted = matcher(KINDS[of], {name: value for name, value in query.items() if name in known})
        closed: list[str] = []
        left: Wrong | None = None
        found = ((row, end) for row, end in self._all(of) if _has_id(row, query.get("id")) and is_wanted(row))
        wanted = islice(found, query.get("limit"))
        while some := list(islice(wanted, AT_ONCE)):
            for row, end in some:
                try:
                    end()
                    closed.append(str(row["id"]))
                except Wrong as wrong:  # others that the filters let through can be ended all the same
                    left = wrong
            await asyncio.sleep(0)
        if not closed and left is not None:
            raise left
        if not closed and "id" in query:
            raise unknown(of.removesuffix("s"), query["id"], f"GET /v1/{of} lists them")
        self.told(asked.peer, "close", f"{len(closed)} {of}: {', '.join(closed[:20])}")
        return {"closed": closed, "of": of}

    def _list_with(self, query: Mapping[str, Any]) -> str:
        """The list that has this id; sessions where there is none."""
        if "id" in query:
            for of in KINDS:
                if any(_has_id(row, query["id"]) for row, _ in self._all(of)):
                    return of
        return "sessions"

    def _all(self, of: str) -> Iterator[tuple[Row, Callable[[], None]]]:
        """Every row of a list, and what ends it."""
        gateway, now = self._gateway, self._gateway.now
        if of == "sessions":
            for session in gateway.all_sessions():
                yield rows.of_session(session, now), partial(_end_session, session)
        elif of == "pinholes":
            for pinhole in gateway.all_pinholes():
                row = rows.of_pinhole(pinhole, gateway.call_of(pinhole), now)
                yield row, partial(pinhole.abort, REASON)
        elif of == "calls":
            for call in gateway.calls():
                row = rows.of_call(call, now)
                yield row, partial(self._end_call, row["pinholes"])
        else:
            for one in gateway.registrations():
                row = rows.of_registration(one, now)
                yield row, partial(self._end_pinholes, filter(None, (row["pinhole"],)))

    def _end_call(self, names: Sequence[str]) -> None:
        """A call ends with its media. Its parties are told nothing; they notice, and hang up."""
        if not names:
            remedy = "close its session, or wait until it is answered"
            raise Wrong(409, "nothing_to_close", "the call has no media here yet", remedy)
        self._end_pinholes(names)

    def _end_pinholes(self, names: Iterable[str]) -> None:
        for name in names:
            if (pinhole := self._gateway.pinholes.find(name)) is not None:
                pinhole.abort(REASON)


def _end_session(session: Session) -> None:
    """End a session with all that it has opened."""
    for pinhole in session.pinholes:
        pinhole.abort(REASON)
    session.cut(REASON)
    session.dissolve()


def _has_id(row: Row, wanted: str | None) -> bool:
    return wanted is None or wanted in (str(row["id"]), row.get("call_id") if "from" in row else None)
