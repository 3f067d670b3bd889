"""All routes of the control socket, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxy import version
from proxy.control import configuration, explain, explained, inventory, openapi, rows, tracing, trouble
from proxy.control.changes import CLOSED, Changes
from proxy.control.changes import PARAMETERS as CLOSE_PARAMETERS
from proxy.control.errors import unknown
from proxy.control.events import EVENT
from proxy.control.events import PARAMETERS as EVENT_PARAMETERS
from proxy.control.explain import Explainer
from proxy.control.gateway import Gateway
from proxy.control.parameters import Parameter, Type
from proxy.control.routes import Asked, Listing, Right, Route, Single, Stream, Text
from proxy.control.shapes import Field, Kind, Row, Shape
from proxy.control.switches import SWITCH, TAKE_BACK, THROW, switch_rows
from proxy.control.tracing import Traces
from proxy.measure.pages import Page
from proxy.pinholes.opening import Opening

_PINHOLES = Field(Kind.OBJECT, "Its pinholes", rows=rows.PINHOLE)
ONE_SESSION = Shape("one_session", "A session with its pinholes.", {**rows.SESSION.fields, "open": _PINHOLES})
ONE_CALL = Shape("one_call", "A call with the pinholes of its media.", {**rows.CALL.fields, "open": _PINHOLES})


def routes(gateway: Gateway, pages: Sequence[Page]) -> list[Route]:
    """The table of routes. `pages`: what those read who watch the daemon."""
    views, explainer, changes = _Views(gateway), Explainer(gateway), Changes(gateway)
    by_id = (Parameter("id", Type.TEXT, "The `id` of the row", in_path=True),)
    described: Row = {}
    table = [
        Route("GET", "/v1/status", "How the daemon is", Single(None, lambda _: gateway.status())),
        Route("GET", "/v1/sessions", "The sessions", Listing("sessions", rows.SESSION, views.sessions)),
        Route("GET", "/v1/sessions/{id}", "One session", Single(ONE_SESSION, views.session), by_id, may_fail=(404,)),
        Route("GET", "/v1/pinholes", "The pinholes", Listing("pinholes", rows.PINHOLE, views.pinholes)),
        Route("GET", "/v1/pinholes/{id}", "One pinhole", Single(rows.PINHOLE, views.pinhole), by_id, may_fail=(404,)),
        Route("GET", "/v1/calls", "The calls", Listing("calls", rows.CALL, views.calls)),
        Route("GET", "/v1/calls/{id}", "One call", Single(ONE_CALL, views.call), by_id, may_fail=(404,)),
        Route(
            "GET", "/v1/registrations", "The registrations",
            Listing("registrations", rows.REGISTRATION, views.registrations),
        ),
        Route("GET", "/v1/helpers", "The helpers",
              Listing("helpers", inventory.HELPER, lambda _: inventory.helper_rows(gateway))),
        Route("GET", "/v1/policies", "The policies in force",
              Listing("policies", inventory.POLICY, lambda _: inventory.policy_rows(gateway))),
        Route("GET", "/v1/limits", "The limits, and how far they are used",
              Listing("limits", inventory.LIMIT, lambda _: inventory.limit_rows(gateway))),
        Route("GET", "/v1/config", "The configuration in force",
              Single(configuration.IN_FORCE,
                     lambda asked: configuration.in_force(gateway.config(), asked.query.get("defaults", False))),
              (configuration.DEFAULTS,)),
        Route("GET", "/v1/refusals", "What was not let in within the last hour",
              Listing("refusals", trouble.REFUSAL, lambda _: trouble.refusal_rows(gateway, explainer))),
        Route("GET", "/v1/violations", "What peers did within the last hour that they may not",
              Listing("violations", trouble.VIOLATION, lambda _: trouble.violation_rows(gateway))),
        Route("GET", "/v1/explain", "Why something is open, was open, or was not let in",
              Single(explained.EXPLAINED, explainer.explain), explain.PARAMETERS),
        Route("GET", "/v1/events", "The lines of the audit log, as they are written",
              Stream(EVENT, gateway.events.follow), EVENT_PARAMETERS),
        Route("GET", "/v1/switches", "The switches that are thrown",
              Listing("switches", SWITCH, lambda _: switch_rows(gateway))),
        Route("POST", "/v1/switches", "Throw a switch: a helper is off, or only observes",
              Single(SWITCH, changes.throw), THROW, Right.CHANGE, may_fail=(404,)),
        Route("DELETE", "/v1/switches", "Take a switch back",
              Single(SWITCH, changes.take_back), TAKE_BACK, Right.CHANGE, may_fail=(404,)),
        Route("POST", "/v1/reload", "Read the configuration again",
              Single(configuration.RELOADED, changes.reload), (configuration.DRY_RUN,), right=Right.CHANGE),
        Route("POST", "/v1/close", "End sessions, pinholes, calls or registrations, by id or by filters",
              Single(CLOSED, changes.close), CLOSE_PARAMETERS, Right.CHANGE, may_fail=(404, 409)),
        Route("GET", "/v1/trace", "The messages of sessions as they pass, without secrets",
              Stream(tracing.MESSAGE, Traces(gateway, changes.told).follow), tracing.PARAMETERS, Right.CHANGE),
        *(Route("GET", page.path, page.summary, Text(page.content_type, page.make), may_fail=page.may_fail)
          for page in pages),
        Route("GET", "/v1/openapi.json", "This description, as OpenAPI 3.1", Single(None, lambda _: described)),
        Route("GET", "/openapi.json", "The same", Single(None, lambda _: described), is_old=True),
        *_old(gateway, views, changes),
    ]  # fmt: skip
    described |= openapi.describe(table, version.installed())
    return table


def _old(gateway: Gateway, views: _Views, changes: Changes) -> list[Route]:
    """The paths from before there were versions. Their rows have the names of that time."""

    def sessions(asked: Asked) -> Iterator[Row]:
        for row in views.sessions(asked):
            yield {"session": row.pop("id"), **row}

    def pinholes(asked: Asked) -> Iterator[Row]:
        for row in views.pinholes(asked):
            ends = {name: row[name] or "not known yet" for name in ("listen", "target")}
            yield {"pinhole": row.pop("id"), **row, **ends}

    return [
        Route("GET", "/status", "How the daemon is", Single(None, lambda _: gateway.status()), is_old=True),
        Route("GET", "/sessions", "The sessions", Listing("sessions", rows.SESSION, sessions), is_old=True),
        Route("GET", "/pinholes", "The pinholes", Listing("pinholes", rows.PINHOLE, pinholes), is_old=True),
        Route("POST", "/reload", "Read the configuration again",
              Single(configuration.RELOADED, changes.reload), right=Right.CHANGE, is_old=True),
    ]  # fmt: skip


class _Views:
    """The rows of what is live."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def sessions(self, _: Asked) -> Iterator[Row]:
        return (rows.of_session(session, self._gateway.now) for session in self._gateway.all_sessions())

    def session(self, asked: Asked) -> Row:
        session = self._gateway.session(asked.name)
        if session is None:
            raise unknown(
                "session", asked.name, "GET /v1/sessions lists them; those that are over are in the audit log"
            )
        return {
            **rows.of_session(session, self._gateway.now),
            "open": [self._pinhole(pinhole) for pinhole in session.pinholes],
        }

    def pinholes(self, _: Asked) -> Iterator[Row]:
        return map(self._pinhole, self._gateway.all_pinholes())

    def pinhole(self, asked: Asked) -> Row:
        found = self._gateway.pinholes.find(asked.name)
        if found is None:
            remedy = "GET /v1/pinholes lists them; GET /v1/explain also tells of those that are closed"
            raise unknown("pinhole", asked.name, remedy)
        return self._pinhole(found)

    def _pinhole(self, pinhole: Opening) -> Row:
        return rows.of_pinhole(pinhole, self._gateway.call_of(pinhole), self._gateway.now)

    def calls(self, _: Asked) -> Iterator[Row]:
        return (rows.of_call(call, self._gateway.now) for call in self._gateway.calls())

    def call(self, asked: Asked) -> Row:
        for row in self.calls(asked):
            if asked.name in (row["id"], row["call_id"]):
                return {**row, "open": [self._pinhole(one) for one in self._open(row["pinholes"])]}
        raise unknown("call", asked.name, "GET /v1/calls lists them; those that are over are in the audit log")

    def _open(self, names: Any) -> Iterator[Opening]:
        found = map(self._gateway.pinholes.find, names)
        return (pinhole for pinhole in found if pinhole is not None)

    def registrations(self, _: Asked) -> Iterator[Row]:
        return (rows.of_registration(one, self._gateway.now) for one in self._gateway.registrations())
