"""The rows of helpers, policies and limits: what is configured, and how much of it is in use."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator

from proxy.config.schema import Policy
from proxy.control.gateway import Gateway
from proxy.control.shapes import Field, Kind, Row, Shape

HELPER = Shape(
    "helper",
    "A protocol that is read.",
    {
        "helper": Field(Kind.WORD, "Its name"),
        "summary": Field(Kind.TEXT, "What it does"),
        "ports": Field(Kind.WORDS, "Where its sessions come to, as tcp/21"),
        "state": Field(Kind.WORD, "on, or off: no entry of session-helpers serves it"),
        "sessions": Field(Kind.INTEGER, "Its sessions"),
        "pinholes": Field(Kind.INTEGER, "The pinholes that it holds open"),
        "counts": Field(Kind.OBJECT, "What it counts itself, as calls and contacts"),
    },
)

POLICY = Shape(
    "policy",
    "A policy in force. The first one that matches a session decides.",
    {
        "policy": Field(Kind.WORD, "Its name"),
        "position": Field(Kind.INTEGER, "Which one it is, from 1"),
        "action": Field(Kind.WORD, "accept or deny"),
        "from": Field(Kind.WORDS, "Interfaces; none: any"),
        "source": Field(Kind.NETWORKS, "Networks of clients; none: any"),
        "destination": Field(Kind.NETWORKS, "Networks of servers; none: any"),
        "helpers": Field(Kind.WORDS, "Helpers; none: any"),
        "snat": Field(Kind.WORDS, "none, interface, or addresses"),
        "dnat": Field(Kind.TEXT, "The server that is dialled instead", may_be_null=True),
        "sessions": Field(Kind.INTEGER, "The sessions that it has let in"),
        "pinholes": Field(Kind.INTEGER, "The pinholes that they hold open"),
    },
)

LIMIT = Shape(
    "limit",
    "Something that there is only so much of.",
    {
        "limit": Field(Kind.TEXT, "Its name: a key of `limits`, or ports, descriptors"),
        "used": Field(Kind.INTEGER, "How much is in use; of a limit for each client, by whoever uses most"),
        "most": Field(Kind.INTEGER, "How much there may be"),
        "used_percent": Field(Kind.SECONDS, "The same as a part of a hundred"),
        "by": Field(Kind.WORD, "The client that uses most, of a limit for each client", may_be_null=True),
    },
)


def helper_rows(gateway: Gateway) -> Iterator[Row]:
    """Every helper that there is."""
    served = gateway.config().served
    sessions = Counter(session.helper.name for session in gateway.all_sessions())
    pinholes = Counter(pinhole.owner.helper.name for pinhole in gateway.all_pinholes())
    for name, helper in gateway.helpers.items():
        entries = [entry for entry in served if entry.name == name]
        yield {
            "helper": name,
            "summary": helper.summary,
            "ports": [f"{entry.protocol.value}/{ports}" for entry in entries for ports in entry.ports],
            "state": "on" if entries else "off",
            "sessions": sessions[name],
            "pinholes": pinholes[name],
            "counts": gateway.counts(name),
        }


def policy_rows(gateway: Gateway) -> Iterator[Row]:
    """Every policy in force, in order."""
    sessions = Counter(session.policy.name for session in gateway.all_sessions())
    pinholes = Counter(pinhole.owner.policy.name for pinhole in gateway.all_pinholes())
    for position, policy in enumerate(gateway.config().policies, 1):
        yield {
            "policy": policy.name,
            "position": position,
            "action": "accept" if policy.accept else "deny",
            "from": list(policy.interfaces),
            "source": [str(network) for network in policy.sources],
            "destination": [str(network) for network in policy.destinations],
            "helpers": list(policy.helpers),
            "snat": _snat(policy),
            "dnat": None if policy.dnat is None else str(policy.dnat),
            "sessions": sessions[policy.name],
            "pinholes": pinholes[policy.name],
        }


def _snat(policy: Policy) -> list[str]:
    return [policy.snat] if isinstance(policy.snat, str) else [str(host) for host in policy.snat]


def limit_rows(gateway: Gateway) -> Iterator[Row]:
    """Every limit, and how far it is used."""
    limits, sessions, pinholes = gateway.config().limits, gateway.sessions, gateway.pinholes
    yield _limit("sessions", len(sessions), limits.sessions)
    yield _limit("sessions_per_client", *sessions.busiest(), limits.sessions_per_client)
    yield _limit("pinholes", len(pinholes), limits.pinholes)
    yield _limit("pinholes_per_client", *pinholes.busiest(), limits.pinholes_per_client)
    # Each address of ours has all ports for itself, so the fullest one counts.
    yield _limit("ports", *pinholes.ports.fullest(), len(pinholes.ports))
    yield _limit("descriptors", gateway.descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _limit(name: str, used: int, *more: str | int | None) -> Row:
    """`more` is the name of whoever uses most, where there is one, and how much there may be."""
    *by, most = more
    assert isinstance(most, int)
    percent = round(100 * used / most, 1) if most > 0 else 0.0
    return {"limit": name, "used": used, "most": most, "used_percent": percent, "by": by[0] if by else None}
