"""Finds what in a configuration is allowed and yet will hardly do what somebody wants: times too short for a protocol,
limits that cannot be reached, names that mean nothing on this host.

`checks.py` finds what cannot work at all.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from proxy.config.checks import ENTRIES, POLICIES, Finding, Location
from proxy.config.reach import Above, Reach, contain, ranges
from proxy.config.schema import REGISTRY, File, HelperEntry, Policy

_LEAST: tuple[tuple[Location, float, str], ...] = (
    (("timeouts", "pinhole_open"), 30, "FTP needs at least 30 s from the agreement to the data connection"),
    (("timeouts", "connect"), 1, "a lost SYN is repeated only after 1 s"),
    (("timeouts", "half_closed"), 5, "an end that still sends is cut off"),
    (("timeouts", "udp_idle"), 32, "SIP phones send a datagram every 30 s or so"),
    (("timeouts", "silent"), 600, "a pool of connections is silent for longer"),
)
"""Times of which less is unwise, and why."""

_NO_CLIENTS = ranges([*map(ip_network, ("127.0.0.0/8", "224.0.0.0/4", "::1/128", "ff00::/8"))])
"""Networks that no routed session comes from or goes to."""


def findings(settings: File) -> Iterator[Finding]:
    """Everything in a configuration that is unwise, wherever it is in force, and on this host."""
    yield from _times(settings)
    yield from _limits(settings)
    yield from _ports(settings)
    yield from _on_for_nothing(settings)
    for index, policy in enumerate(settings.policies):
        here: Location = (POLICIES, index)
        yield from _options(here, policy)
        yield from _networks(here, policy)
        yield from _trusted(here, policy)
    yield from _covered(settings)
    yield from _on_this_host(settings)


def _times(settings: File) -> Iterator[Finding]:
    """Times that are too short."""
    for place, least, why in _LEAST:
        value: Any = settings
        for key in place:
            value = getattr(value, str(key))
        if value < least:
            yield place, f"{_number(value)} s is less than {_number(least)}: {why}"


def _options(here: Location, policy: Policy) -> Iterator[Finding]:
    """Options of helpers that leave them no time, or no way."""
    for helper, options in policy.options.items():
        for option, (least, why) in REGISTRY[helper].least.items():
            if (value := getattr(options, option)) < least:
                unit = "" if isinstance(value, int) else " s"
                text = f"{_number(value)}{unit} is less than {_number(least)}: {why}"
                yield (*here, "options", helper, option), text


def _limits(settings: File) -> Iterator[Finding]:
    """Limits that other limits keep from ever being reached."""
    limits = settings.limits
    for part, whole in (
        ("sessions_per_client", "sessions"),
        ("pinholes_per_session", "pinholes_per_client"),
        ("pinholes_per_client", "pinholes"),
    ):
        if getattr(limits, part) > getattr(limits, whole):
            yield (
                ("limits", part),
                f"{getattr(limits, part)} is never reached: `{whole}` is {getattr(limits, whole)}",
            )


def _ports(settings: File) -> Iterator[Finding]:
    """Whether the range of ports is far too small for the limits, where NAT takes ports from it."""
    wanted = settings.limits.pinholes_per_client
    has_nat = any(policy.accept and (policy.snat != "none" or policy.dnat) for policy in settings.policies)
    if has_nat and len(settings.ports) < wanted:
        yield (
            ("ports",),
            f"only {len(settings.ports)} ports, but one client alone may have {wanted} pinholes (limits: "
            f"pinholes_per_client), and each one of media takes two ports",
        )


def _on_for_nothing(settings: File) -> Iterator[Finding]:
    """Entries of a helper that is off unless somebody has a reason to have it, where no policy tells of a reason."""
    accepting = [policy for policy in settings.policies if policy.accept]
    for index, entry in enumerate(settings.helpers):
        if not entry.enabled or entry.name not in REGISTRY:
            continue
        helper = REGISTRY[entry.name]
        reasons = [why for (kind, port), why in helper.off.items() if kind is entry.protocol and _has(entry, port)]
        if reasons and not any(helper.is_of_use(policy.options[entry.name]) for policy in accepting):
            yield (ENTRIES, index), f"{entry.name} is on, and no policy sets an option of it: {reasons[0]}"


def _has(entry: HelperEntry, port: int) -> bool:
    return any(port in ports for ports in entry.ports)


def _networks(here: Location, policy: Policy) -> Iterator[Finding]:
    """Networks that no session has anything to do with."""
    for key, networks in (("source", policy.sources), ("destination", policy.destinations)):
        if networks and contain(_NO_CLIENTS, ranges(networks)):
            yield (*here, key), "can never match: no session that this host routes has such an address"


def _trusted(here: Location, policy: Policy) -> Iterator[Finding]:
    """Source NAT of a helper whose servers trust their clients for their addresses."""
    trusting = [name for name in policy.helpers if name in REGISTRY and REGISTRY[name].reserved_source]
    if trusting and policy.accept and policy.snat != "none":
        why = "whom they trust at one, they trust at all"
        yield (*here, "snat"), f"servers of {trusting[0]} will know all clients by the same address: {why}"


def _covered(settings: File) -> Iterator[Finding]:
    """Policies whose sessions all go to several above together, though to none of them alone."""
    table = frozenset(entry.name for entry in settings.served)
    above = Above()
    for index, policy in enumerate(settings.policies):
        reach = Reach.of(policy, table)
        if above.taking_all_of(reach) is None and (others := above.taking_together(reach)):
            names = ", ".join(repr(other.name) for other in others)
            yield (POLICIES, index), f"can never match: the policies {names} above take all of its sessions together"
        above.add(reach)


def _on_this_host(settings: File) -> Iterator[Finding]:
    """Names that mean nothing on this host."""
    present = {name for _, name in socket.if_nameindex()}
    for index, policy in enumerate(settings.policies):
        for number, name in enumerate(policy.interfaces):
            if name not in present:
                yield (
                    (POLICIES, index, "from", number),
                    f"this host has no interface {name!r} now; the policy matches nothing that comes by it",
                )
    for where, path in settings.audit.files:
        if not os.path.isdir(os.path.dirname(path)):
            yield where, f"there is no directory {os.path.dirname(path)} on this host"
    if settings.user is not None and not settings.user.isdigit():
        try:
            pwd.getpwnam(settings.user)
        except KeyError:
            yield ("user",), f"this host has no user {settings.user!r}"


def _number(value: float) -> str:
    """A number of seconds as one writes it."""
    return f"{value:g}"
