"""Why a hole is open, was open, or something was not let in: the question, and where its answers are looked for.

    live table --> memory of the last hour (refusals) --> audit file, backwards, in a thread --> what policies would say

A hole is asked for by its number, or by an address: of the hole, of who came, of where it leads.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from protocols.contract.addresses import Endpoint, Transport
from proxy.config.whereabouts import told_by
from proxy.control import explained, judging, reasons, rows
from proxy.control.addresses import place
from proxy.control.errors import Wrong
from proxy.control.gateway import Gateway
from proxy.control.parameters import Parameter, Type
from proxy.control.reasons import Why
from proxy.control.routes import Asked
from proxy.control.shapes import Row, stamp
from proxy.pinholes.opening import Opening
from proxy.record.recent import WATCHED, Happened
from proxy.sessions.policy import Accepted
from proxy.sockets.arrival import Arrival

MOST_ANSWERS = 20

PARAMETERS = (
    Parameter("pinhole", Type.TEXT, "The name of a pinhole. Either this or `address` has to be given"),
    Parameter("address", Type.ENDPOINT, "ADDRESS:PORT of a pinhole, of who came, or of where somebody wanted to go"),
    Parameter("at", Type.TIME, "When. Left out: now, and what was before if there is nothing now"),
    Parameter("client", Type.HOST, "With `address`: who wants to go there. Policies are asked about it"),
    Parameter(
        "interface", Type.TEXT, "With `client`: by which interface it comes. Left out: by any that a policy names"
    ),
    Parameter("transport", Type.TEXT, "With `client`: tcp or udp. Left out: both", words=("tcp", "udp")),
)


class Explainer:
    """Answers `GET /v1/explain`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._history = gateway.history

    async def explain(self, asked: Asked) -> Row:
        """All answers to the question. Raises Wrong when it names neither a pinhole nor an address."""
        query = asked.query
        if ("pinhole" in query) == ("address" in query):
            remedy = "?pinhole=ID or ?address=ADDRESS:PORT, and &at=TIME for what was"
            raise Wrong(400, "missing_parameter", "ask for a pinhole or for an address", remedy)
        at: float | None = query.get("at")
        answers = [] if at is not None and at < self._gateway.wall_clock() - 1 else list(self._live(query))
        if "client" in query:
            answers += self._judged(query)
        answers += self._remembered(query, at)
        if not any(one["verdict"] in ("open", "refused") for one in answers) or at is not None:
            answers += await self._past(query, at)
        return {"answers": answers[:MOST_ANSWERS] or [self._nothing(query)]}

    # -- what is live ----------------------------------------------------------------------------------------------

    def _live(self, query: Mapping[str, Any]) -> Iterator[Row]:
        for pinhole in self._found(query):
            row = rows.of_pinhole(pinhole, self._gateway.call_of(pinhole), self._gateway.now)
            call = self._gateway.call_of(pinhole)
            about = None if call is None else rows.of_call(call, self._gateway.now)
            since = stamp(self._gateway.wall_clock() - row["age_seconds"])
            message = {"trigger": row["trigger"], "cseq": pinhole.described.cseq, "call_id": row["call_id"]}
            policy = self._policy(pinhole.owner.policy.name) or {"name": row["policy"], "place": None}
            yield explained.of_open(row, since, policy, message, about)

    def _found(self, query: Mapping[str, Any]) -> Iterator[Opening]:
        if "pinhole" in query:
            found = self._gateway.pinholes.find(query["pinhole"])
            return iter(() if found is None else (found,))
        address = query["address"]
        return (one for one in self._gateway.all_pinholes() if address in _addresses(one))

    # -- what was refused within the last hour ---------------------------------------------------------------------

    def _remembered(self, query: Mapping[str, Any], at: float | None) -> Iterator[Row]:
        for happened in self._gateway.recent.all(*WATCHED):
            facts = happened.told
            if at is not None and not happened.first - 1 <= at <= happened.last + 1:
                continue
            if _is_about(query, facts):
                yield self.refused(happened, facts)

    def refused(self, happened: Happened, facts: Mapping[str, Any]) -> Row:
        """The explanation of something that was not let in."""
        known = {"since": stamp(happened.first), "until": stamp(happened.last), "count": happened.count}
        return self._refused(happened.event, facts, source="memory", **known)

    def _refused(self, event: str, facts: Mapping[str, Any], **known: Any) -> Row:
        more: list[str] = []
        helper = self._gateway.helpers.get(str(facts.get("helper")))
        if event in ("session.denied", "session.failed"):
            why = reasons.of_session(facts)
            if facts["reason"] in ("no_policy", "denied_by_policy"):
                more = self._mismatches(facts)
        elif event == "pinhole.refused":
            why = reasons.of_pinhole(facts, helper)
        elif event in ("call.failed", "registration.refused"):
            why = reasons.of_answer(event, facts)
        else:
            why = reasons.of_violation(facts, helper)
        policy = self._policy(facts.get("policy"))
        return explained.of_refused(self._for_this_file(why), facts, more, policy, **known)

    def _mismatches(self, facts: Mapping[str, Any]) -> list[str]:
        """Why each policy that accepts something did not match this arrival."""
        config, server = self._gateway.config(), str(facts["server"])
        at = place(server)
        helper = facts.get("helper")
        if helper is None and at is not None:
            helper = judging.helper_of(config, facts.get("transport"), at.port)
        return judging.mismatches(config, helper, str(facts["client"]), server, str(facts.get("interface") or ""))

    # -- what the audit file says ----------------------------------------------------------------------------------

    async def _past(self, query: Mapping[str, Any], at: float | None) -> list[Row]:
        moment = None if at is None else stamp(at)
        found = await asyncio.to_thread(self._history.find, query.get("pinhole"), query.get("address"), moment)
        answers = []
        for lines in found:
            first = lines[0]
            if first["event"] == "pinhole.opened":
                policy = self._policy(first.get("policy")) or {"name": first.get("policy"), "place": None}
                answers.append(explained.of_closed(lines, policy))
            else:
                known = {"source": "audit", "since": first["time"], "until": lines[-1]["time"], "count": len(lines)}
                answers.append(self._refused(first["event"], first, **known))
        return answers

    # -- what policies would say -----------------------------------------------------------------------------------

    def _judged(self, query: Mapping[str, Any]) -> Iterator[Row]:
        """What policies say about this client, as if it came now."""
        if "address" not in query:
            raise Wrong(400, "missing_parameter", "client needs an address", "say where it wants to go: &address=")
        client, server = place(query["client"]), place(query["address"])
        assert client is not None and server is not None
        if client.host.version != server.host.version:
            remedy = "give both in one IP version: a client dials addresses of its own"
            raise Wrong(400, "bad_parameter", f"{query['client']} never dials {server}", remedy)
        found = [self._judge(transport, client, server, query) for transport in _transports(query)]
        # Who has not said which transport is meant is told of the one for which there is a helper.
        known = [one for one in found if one["reason"] != "no_helper"]
        yield from known or found[:1]

    def _judge(self, transport: Transport, client: Endpoint, server: Endpoint, query: Mapping[str, Any]) -> Row:
        arrivals = [Arrival(transport, interface, client, server) for interface in self._interfaces(query)]
        judged = [(arrival, self._gateway.sessions.policies.judge(arrival)) for arrival in arrivals]
        arrival, decision = next(((at, one) for at, one in judged if isinstance(one, Accepted)), judged[0])
        facts = {
            "client": query["client"], "server": str(server), "interface": arrival.interface,
            "transport": transport.value, "policy": decision.policy if isinstance(decision.policy, str) else None,
        }  # fmt: skip
        if isinstance(decision, Accepted):
            policy = self._policy(decision.policy.name)
            by = f" by {arrival.interface}" if arrival.interface else ""
            who, helper = query["client"], decision.helper
            says = [f"policy {decision.policy.name} accepts {who}{by} to {server}; {helper} would read it"]
            return explained.answer("nothing", says, "configuration", policy=policy)
        return self._refused("session.denied", {**facts, "reason": decision.reason}, source="configuration")

    def _interfaces(self, query: Mapping[str, Any]) -> Sequence[str]:
        """By which interfaces the client may come: where none is said, by any that a policy names."""
        if "interface" in query:
            return [query["interface"]]
        return ["", *dict.fromkeys(name for one in self._gateway.config().policies for name in one.interfaces)]

    def _nothing(self, query: Mapping[str, Any]) -> Row:
        """Nothing is known of it: what pinhole has to do with such an address."""
        if "pinhole" in query:
            says = [f"there is no pinhole {query['pinhole']}, and {self._history.says(query['pinhole'])}"]
            return explained.answer("nothing", says, "live")
        at = place(query["address"])
        assert at is not None
        config, facts = self._gateway.config(), {"server": query["address"]}
        helper = judging.helper_of(config, None, at.port)
        says = [f"nothing is open at {query['address']}, and {self._history.says(query['address'])}"]
        if helper is not None:
            says.append(f"sessions to port {at.port} are read by {helper}; whose, policies say: ask for a client, too")
            return explained.answer("nothing", says, "configuration")
        if config.ports.first <= at.port <= config.ports.last:
            says.append(f"port {at.port} is in `ports`, where pinholes at addresses of ours stand; none is there")
            return explained.answer("nothing", says, "configuration")
        why = self._for_this_file(reasons.of_session({**facts, "reason": "no_helper", "transport": "tcp"}))
        says.append(f"{why.says}; what comes there passes or not as the firewall has it")
        return explained.answer("nothing", says, "configuration", reason="no_helper", remedy=why.remedy, line=why.line)

    def _for_this_file(self, why: Why) -> Why:
        """The same, where the commands of the remedy name the file that is served."""
        return why._replace(remedy=told_by(self._gateway.config().source, why.remedy))

    def _policy(self, name: object) -> Row | None:
        """A policy, and where it stands in the file."""
        config = self._gateway.config()
        position = next((at for at, policy in enumerate(config.policies) if policy.name == name), None)
        if position is None:
            return None
        places = config.policy_places
        return {"name": name, "place": places[position] if position < len(places) else config.source}


def _transports(query: Mapping[str, Any]) -> Sequence[Transport]:
    return [Transport(query["transport"])] if "transport" in query else (Transport.TCP, Transport.UDP)


def _addresses(pinhole: Opening) -> set[str]:
    """Every address that a pinhole has to do with."""
    described = pinhole.described
    return {str(at) for at in (described.listen, described.target, pinhole.peer, *pinhole.places()) if at is not None}


def _is_about(query: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether a line of the log is about what is asked."""
    if "pinhole" in query:
        return bool(str(facts.get("pinhole", "")) == query["pinhole"])
    return names(str(query["address"]), facts)


def names(address: str, facts: Mapping[str, Any]) -> bool:
    """Whether one of the fields names this address and port."""
    named = re.compile(rf"(?<![0-9.]){re.escape(address)}(?![0-9])")
    return any(isinstance(value, str) and named.search(value) for value in facts.values())
