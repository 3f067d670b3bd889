"""Switches as the control socket shows them, and how they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from protocols.contract.addresses import Network
from proxy.control.errors import Wrong
from proxy.control.gateway import Gateway
from proxy.control.parameters import Parameter, Type
from proxy.control.shapes import Field, Kind, Row, Shape
from proxy.sessions.switches import Switch

SWITCH = Shape(
    "switch",
    "Something that an operator has changed until the daemon ends, or for a time.",
    {
        "helper": Field(Kind.WORD, "The helper"),
        "mode": Field(Kind.WORD, "off: its sessions pass unread; observe: nothing is changed, opened or refused"),
        "client": Field(Kind.WORD, "The clients that it is for; all: every one"),
        "expires_seconds": Field(Kind.SECONDS, "When it is taken back; null: at a restart", may_be_null=True),
    },
)

_HELPER = Parameter("helper", Type.TEXT, "The helper", is_required=True)
_CLIENT = Parameter("client", Type.TEXT, "The client, or a network of clients. Left out: all")
THROW = (
    _HELPER,
    Parameter("mode", Type.TEXT, "What it does", is_required=True, words=("off", "observe")),
    _CLIENT,
    Parameter("for", Type.SECONDS, "For how long, as 10m. Left out: until a restart"),
)
TAKE_BACK = (_HELPER, _CLIENT)


def switch_rows(gateway: Gateway) -> Iterator[Row]:
    """The switches that are thrown."""
    return (row_of(switch, gateway.now) for switch in gateway.sessions.switches)


def row_of(switch: Switch, now: float) -> Row:
    """The row of a switch."""
    return {
        "helper": switch.helper,
        "mode": switch.mode,
        "client": "all" if switch.client is None else str(switch.client).removesuffix("/32").removesuffix("/128"),
        "expires_seconds": None if switch.until is None else round(max(0.0, switch.until - now), 3),
    }


def in_words(row: Row) -> str:
    """A switch in a few words: `ftp off for 192.0.2.1, 600 s`."""
    ends = "until a restart" if row["expires_seconds"] is None else f"for {row['expires_seconds']:.0f} s"
    return f"{row['helper']} {row['mode']}, clients: {row['client']}, {ends}"


def network(text: str | None) -> Network | None:
    """The clients that are meant. Raises Wrong."""
    if text is None or text == "all":
        return None
    try:
        return ip_network(text)
    except ValueError:
        raise Wrong(
            400, "bad_parameter", f"client: {text[:64]!r}", "client is an address or a network, as 192.0.2.0/24"
        ) from None
