"""The rows of sessions, pinholes, calls and registrations: what each says, and how it is made of what is live."""

from __future__ import annotations

from typing import Any

from protocols.contract import live
from protocols.contract.addresses import Endpoint, Side
from protocols.contract.pinholes import Pinholes
from proxy.control.shapes import Field, Kind, Row, Shape
from proxy.pinholes.of_session import SessionPinholes
from proxy.pinholes.opening import Opening, Owner
from proxy.record.render import plain
from proxy.sessions.session import Session

_HELPER = Field(Kind.WORD, "The helper that reads it")
_POLICY = Field(Kind.WORD, "The policy that let it in")
_CLIENT = Field(Kind.ENDPOINT, "The client of the session")
_SERVER = Field(Kind.ENDPOINT, "The server of the session, as the client dialled it")
_SESSION = Field(Kind.WORD, "The session that it belongs to")
_AGE = Field(Kind.SECONDS, "For how long it has been there")

SESSION = Shape(
    "session",
    "A connection or flow between a client and a server that a helper reads.",
    {
        "id": Field(Kind.WORD, "Its name, as `session` in the audit log"),
        "helper": _HELPER,
        "policy": _POLICY,
        "transport": Field(Kind.WORD, "tcp or udp"),
        "interface": Field(Kind.WORD, "The interface by which it came"),
        "client": _CLIENT,
        "server": _SERVER,
        "snat": Field(Kind.ENDPOINT, "The address that the server sees instead of the client's", may_be_null=True),
        "dnat": Field(Kind.ENDPOINT, "The server that is dialled instead", may_be_null=True),
        "state": Field(
            Kind.WORD, "dialling, serving, relaying (unread), or lingering (over, but a call of it goes on)"
        ),
        "age_seconds": _AGE,
        "idle_seconds": Field(Kind.SECONDS, "For how long both sides have been silent", may_be_null=True),
        "bytes_from_client": Field(Kind.INTEGER, "Bytes that came from the client"),
        "bytes_from_server": Field(Kind.INTEGER, "Bytes that came from the server"),
        "pinholes": Field(Kind.INTEGER, "How many pinholes it holds open"),
        "parent": Field(Kind.WORD, "The session that had the way opened by which it came", may_be_null=True),
        "via_pinhole": Field(Kind.WORD, "The pinhole by which it came", may_be_null=True),
    },
)

PINHOLE = Shape(
    "pinhole",
    "A way that a helper has opened for those who are expected.",
    {
        "id": Field(Kind.WORD, "Its name, as `pinhole` in the audit log"),
        "session": _SESSION,
        "call_id": Field(Kind.WORD, "The call whose media it carries", may_be_null=True),
        "helper": _HELPER,
        "policy": _POLICY,
        "client": _CLIENT,
        "server": _SERVER,
        "purpose": Field(Kind.WORD, "What it carries, as ftp-data, rtp, sip"),
        "trigger": Field(Kind.WORD, "The command, reply or message that asked for it"),
        "transport": Field(Kind.WORD, "tcp, udp, or gre (protocol 47, whose ids stand for ports)"),
        "listen": Field(Kind.ENDPOINT, "Where it stands", may_be_null=True),
        "allow": Field(Kind.NETWORKS, "Who may come"),
        "peer": Field(Kind.ENDPOINT, "Who came last", may_be_null=True),
        "target": Field(Kind.ENDPOINT, "Where it leads", may_be_null=True),
        "state": Field(Kind.WORD, "unconfirmed (admits nobody yet), waiting, dialling or relaying"),
        "in_kernel": Field(Kind.FLAG, "Whether the kernel carries some of what passes now"),
        "age_seconds": _AGE,
        "expires_seconds": Field(Kind.SECONDS, "When it closes unless something comes", may_be_null=True),
        "bytes_in": Field(Kind.INTEGER, "Bytes from the peer; of media, bytes to the party"),
        "bytes_out": Field(Kind.INTEGER, "Bytes to the peer; of media, bytes from the party"),
        "packets_in": Field(Kind.INTEGER, "The same in packets; null for connections", may_be_null=True),
        "packets_out": Field(Kind.INTEGER, "The same in packets; null for connections", may_be_null=True),
    },
)

CALL = Shape(
    "call",
    "A call between two parties.",
    {
        "id": Field(Kind.WORD, "A short name; a call that passes twice is two"),
        "call_id": Field(Kind.WORD, "Its Call-ID"),
        "from": Field(Kind.WORD, "Who calls"),
        "to": Field(Kind.WORD, "Who is called"),
        "direction": Field(Kind.WORD, "out: the caller is behind this gateway; in: the callee is"),
        "state": Field(Kind.WORD, "ringing, established or ending"),
        "session": _SESSION,
        "helper": _HELPER,
        "policy": _POLICY,
        "client": _CLIENT,
        "server": _SERVER,
        "age_seconds": _AGE,
        "duration_seconds": Field(Kind.SECONDS, "For how long it has been established", may_be_null=True),
        "expires_seconds": Field(Kind.SECONDS, "When it is over without another sign of life"),
        "pinholes": Field(Kind.WORDS, "The pinholes of its media"),
    },
)

REGISTRATION = Shape(
    "registration",
    "An address at which somebody can be called.",
    {
        "id": Field(Kind.WORD, "A short name"),
        "aor": Field(Kind.WORD, "Who can be called: the address of record"),
        "contact": Field(Kind.ENDPOINT, "The phone's own address"),
        "known_as": Field(Kind.ENDPOINT, "The address by which others know it"),
        "transport": Field(Kind.WORD, "tcp or udp"),
        "registrar": Field(Kind.WORD, "The host that granted it"),
        "session": _SESSION,
        "helper": _HELPER,
        "policy": _POLICY,
        "client": _CLIENT,
        "server": _SERVER,
        "age_seconds": Field(Kind.SECONDS, "For how long the phone has been known by that address"),
        "expires_seconds": Field(Kind.SECONDS, "When it is over unless it is refreshed"),
        "pinhole": Field(Kind.WORD, "The pinhole by which calls come", may_be_null=True),
    },
)


def of_session(session: Session, now: float) -> Row:
    """The row of a session."""
    peers, let_in, received = session.peers, session.let_in, session.received
    idle = None if session.is_over else session.idle_seconds(now)
    return {
        "id": session.key,
        "helper": session.helper.name,
        "policy": session.policy.name,
        "transport": session.arrival.transport.value,
        "interface": session.arrival.interface,
        "client": str(session.arrival.client),
        "server": str(session.arrival.server),
        "snat": str(peers.client_as_seen) if peers is not None and peers.is_mapped(Side.CLIENT) else None,
        "dnat": str(peers.server) if peers is not None and peers.server != peers.server_as_seen else None,
        "state": "lingering" if session.is_over else session.state,
        "age_seconds": _seconds(now - session.opened_at),
        "idle_seconds": None if idle is None else _seconds(idle),
        "bytes_from_client": received.get(Side.CLIENT, 0),
        "bytes_from_server": received.get(Side.SERVER, 0),
        "pinholes": len(session.pinholes),
        "parent": None if let_in is None else let_in.session,
        "via_pinhole": None if let_in is None else let_in.pinhole,
    }


def of_pinhole(pinhole: Opening, call: live.Call | None, now: float) -> Row:
    """The row of a pinhole. `call` is the call whose media it carries, if there is one."""
    described, passed, ends = pinhole.described, pinhole.passed(), pinhole.expires_at
    return {
        "id": pinhole.name,
        "session": pinhole.owner.key,
        "call_id": None if call is None else plain(call.call_id),
        **_of_owner(pinhole.owner),
        "purpose": described.purpose,
        "trigger": described.trigger,
        "transport": described.transport.value,
        "listen": _text(described.listen),
        "allow": [str(network) for network in described.allow],
        "peer": _text(pinhole.peer),
        "target": _text(described.target),
        "state": pinhole.state,
        "in_kernel": pinhole.is_in_kernel,
        "age_seconds": _seconds(now - pinhole.opened_at),
        "expires_seconds": None if ends is None or ends == float("inf") else _seconds(max(0.0, ends - now)),
        "bytes_in": passed.bytes_in,
        "bytes_out": passed.bytes_out,
        "packets_in": passed.packets_in,
        "packets_out": passed.packets_out,
    }


def of_call(call: live.Call, now: float) -> Row:
    """The row of a call."""
    owner = owner_of(call.pinholes)
    return {
        "id": call.id,
        "call_id": plain(call.call_id),
        "from": plain(call.caller),
        "to": plain(call.callee),
        "direction": call.direction,
        "state": call.state,
        "session": owner.key,
        **_of_owner(owner),
        "age_seconds": _seconds(now - call.began_at),
        "duration_seconds": None if call.started_at is None else _seconds(now - call.started_at),
        "expires_seconds": _seconds(max(0.0, call.expires_at - now)),
        "pinholes": [named(call.pinholes, number) for number in call.media],
    }


def of_registration(one: live.Registration, now: float) -> Row:
    """The row of a registration."""
    owner = owner_of(one.pinholes)
    return {
        "id": one.id,
        "aor": plain(one.aor),
        "contact": str(one.contact),
        "known_as": str(one.known_as),
        "transport": one.transport.value,
        "registrar": str(one.registrar),
        "session": owner.key,
        **_of_owner(owner),
        "age_seconds": _seconds(now - one.began_at),
        "expires_seconds": _seconds(max(0.0, one.expires_at - now)),
        "pinhole": None if one.grant is None else named(one.pinholes, one.grant),
    }


def owner_of(pinholes: Pinholes) -> Owner:
    """The session that an engine's pinholes belong to."""
    assert isinstance(pinholes, SessionPinholes)
    return pinholes.owner


def named(pinholes: Pinholes, number: int) -> str:
    """The name of a pinhole, by the number that its engine knows it by."""
    assert isinstance(pinholes, SessionPinholes)
    return pinholes.name(number)


def _of_owner(owner: Owner) -> dict[str, Any]:
    return {
        "helper": owner.helper.name,
        "policy": owner.policy.name,
        "client": str(owner.arrival.client),
        "server": str(owner.arrival.server),
    }


def _text(at: Endpoint | None) -> str | None:
    return None if at is None else str(at)


def _seconds(value: float) -> float:
    return round(value, 3)
