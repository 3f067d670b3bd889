"""A VoIP profile of a FortiGate as options of our SIP helper."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from proxy.fortios.syntax import Block

Mapped = tuple[dict[str, Any], list[str]]
"""Options, and remarks."""

_NO_REQUEST = ("ACK", "CANCEL")
"""Methods that nobody can refuse: they are part of an INVITE."""

_DEFAULTS = {
    "status": "enable", "rtp": "enable", "open-register-pinhole": "enable", "open-contact-pinhole": "enable",
    "strict-register": "enable", "block-unknown": "enable", "open-record-route-pinhole": "enable",
    "contact-fixup": "enable", "nat-trace": "enable", "log-violations": "disable", "log-call-summary": "enable",
    "ips-rtp": "enable", "ssl-mode": "off", "max-line-length": "998",
}  # fmt: skip
"""What a profile says where it says nothing: no remark is made of it."""


def options(profile: Block) -> Mapped:
    """The options of the SIP helper for a profile, and a remark for each setting that cannot be mapped."""
    sip = profile.block("sip")
    found: dict[str, Any] = {}
    remarks: list[str] = []
    for key, values in sip.settings.items():
        value = values[0] if values else ""
        if _DEFAULTS.get(key) == value or (value in ("disable", "0") and key not in _DEFAULTS):
            continue
        map_it = next((each for pattern, each in _MAPS if re.fullmatch(pattern, key)), None)
        if map_it is None:
            remarks.append(f"`set {key} {value}` is not mapped")
        else:
            map_it(found, remarks, key, value)
    remarks += [f"`config {kind}` is not mapped: there is no such helper" for kind in profile.blocks if kind != "sip"]
    return found, list(dict.fromkeys(remarks))


def _off(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    found["mode"] = "observe"
    remarks.append("`set status disable`: SIP passes unread there; here it is watched and left as it is")


def _strict(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    found["strict_register"] = value == "enable"


def _block(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    method = key.removeprefix("block-").upper()
    if method in _NO_REQUEST:
        remarks.append(f"`set {key} enable` is not mapped: {method} is part of an INVITE")
    else:
        found.setdefault("block_methods", []).append(method)


def _rate(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    found.setdefault("rates", {})[key.removesuffix("-rate").upper()] = int(value)
    remarks.append("rates count there for a policy (or as `-rate-track` says), here for each source address")


def _calls(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    found["max_calls"] = int(value)
    remarks.append("`max-dialogs` counts there for a policy, here for each client address")


def _ring(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    found["ring_seconds"] = int(value)


def _silent(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    found["media_idle"] = int(value) * 60


def _malformed(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    if found.get("malformed", value) != value:
        remarks.append("`malformed-*` is one option here; what is answered there for some fields is answered for all")
        value = "respond"
    if value in ("respond", "discard", "pass"):
        found["malformed"] = value


def _quiet(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    """Nothing has to be said of it."""


def _fixup(found: dict[str, Any], remarks: list[str], key: str, value: str) -> None:
    found["fixup"] = "never"
    remarks.append("`set no-sdp-fixup enable`: here all addresses are left to the ends then, not only those of media")


_Map = Callable[[dict[str, Any], list[str], str, str], None]
_MAPS: tuple[tuple[str, _Map], ...] = (
    ("status", _off),
    ("strict-register", _strict),
    (
        r"block-(ack|bye|cancel|info|invite|message|notify|options|prack|publish|refer|register|subscribe|update)",
        _block,
    ),
    (r"[a-z]+-rate", _rate),
    (r"[a-z]+-rate-track", _quiet),
    ("max-dialogs", _calls),
    ("provisional-invite-expiry-time", _ring),
    ("call-keepalive", _silent),
    (r"malformed-.*", _malformed),
    ("no-sdp-fixup", _fixup),
    (r"log-.*", _quiet),
)
"""Pattern of a setting -> what becomes of it. What no pattern fits gets a remark."""


def of_policy(policy: Block, profiles: Mapping[str, Block]) -> Mapped:
    """The options that a policy's profile asks for."""
    name = policy.word("voip-profile")
    if not name:
        return {}, []
    if name not in profiles:
        return {}, ([] if name == "default" else [f"the file has no VoIP profile {name!r}"])
    found, remarks = options(profiles[name])
    return found, [f"VoIP profile {name!r}: {remark}" for remark in remarks]
