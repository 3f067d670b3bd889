"""Why something was not let in, in a sentence, and the line of configuration that would let it in.

A refusal stands in the audit log as one word, and so does a violation. Here each word has its sentence, which the facts
of the line complete. Words of a helper's own are explained by the helper (`Helper.permits`) and the catalogue of rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any, NamedTuple

from protocols.contract.engine import Helper
from proxy.control.addresses import place
from proxy.record.events.rules import RULES


class Why(NamedTuple):
    """Why something was refused."""

    says: str
    """A sentence."""
    remedy: str
    """What an operator can do, or why nothing is to be done."""
    line: str | None
    """The line of configuration that would let it in. None: none would."""


_A_POLICY = "$a_policy"
"""Stands for a policy that accepts just this."""
_NOT_OURS = "no line of the configuration changes this"

_NO_SOCKET: Mapping[str, tuple[str, str, str | None]] = {
    "no_descriptors": (
        "this process has no descriptor left",
        "raise the limit of descriptors (systemd: LimitNOFILE=)",
        None,
    ),
    "no_memory": (
        "the kernel has no memory for another socket of this process",
        "`sysctl net.core.optmem_max` may be too small, or memory.max of the unit",
        None,
    ),
}

_SESSIONS: Mapping[str, tuple[str, str, str | None]] = {
    "no_policy": (
        "no policy matches $client to $server by $interface",
        "add a policy to `policies`",
        _A_POLICY,
    ),
    "denied_by_policy": (
        "policy $policy denies $client to $server",
        "put a policy that accepts it before $policy in `policies`",
        _A_POLICY,
    ),
    "no_helper": (
        "port $server_port is in no entry of `session-helpers`, so nothing reads sessions to it",
        "add an entry to `session-helpers`; new ports need `pinhole net up`",
        "- {id: NUMBER, name: HELPER, protocol: $transport, port: $server_port}",
    ),
    "no_snat_address": (
        "policy $policy has no address in `snat` of the IP version that is dialled",
        "add one to `snat` of policy $policy, or use that of the interface",
        "snat: interface",
    ),
    "client_other_family": (
        "client and server differ in IP version, and policy $policy has `snat: none`",
        "let policy $policy give the client an address of ours",
        "snat: interface",
    ),
    "link_local": (
        "an IPv6 address of one link only would have to be known on another link",
        "the client has to come by a global or unique local address; or give it one of ours",
        "snat: interface",
    ),
    "limit_total": (
        "as many sessions as `limits: sessions` allows are open, or the part of $helper is used up",
        "raise the limit, if descriptors and memory suffice (`pinhole doctor`)",
        "limits: {sessions: NUMBER}",
    ),
    "limit_per_client": (
        "the client has as many sessions as `limits: sessions_per_client` allows",
        "raise the limit, or find out what the client does",
        "limits: {sessions_per_client: NUMBER}",
    ),
    "audit_unavailable": (
        "the audit log can be written nowhere, and `audit: required` demands it",
        "mend what the log says on standard error: a disk that is full, a collector that is gone",
        None,
    ),
    "loop": ("the session would come back to this daemon", "the address that is dialled is this gateway's own", None),
    "address_in_use": (
        "a service of this host has port $server_port on every address, or the client has such a session already",
        "have that service listen on single addresses only",
        None,
    ),
    "no_free_port": (
        "no port of ours is free on the address by which the server would see the client",
        "give `ports` a wider range",
        "ports: FIRST-LAST",
    ),
    **_NO_SOCKET,
    "server_unreachable": ("no route leads to the server", "look at `ip route get $server_host`", None),
}

_PINHOLES: Mapping[str, tuple[str, str, str | None]] = {
    "limit_per_session": (
        "the session holds as many pinholes as `limits: pinholes_per_session` allows",
        "raise the limit",
        "limits: {pinholes_per_session: NUMBER}",
    ),
    "limit_per_client": (
        "the client holds as many pinholes as `limits: pinholes_per_client` allows; a call with audio takes two",
        "raise the limit",
        "limits: {pinholes_per_client: NUMBER}",
    ),
    "limit_total": (
        "as many pinholes as `limits: pinholes` allows are open, or the part of $helper is used up",
        "raise the limit",
        "limits: {pinholes: NUMBER}",
    ),
    "limit_of_offers": (
        "the client has too many offers of media that nobody has answered",
        "a wider range of `ports` leaves room for more",
        "ports: FIRST-LAST",
    ),
    "no_free_port": (
        "no port is left on that address, or of those below 1024, which rsh demands, none for this client",
        "give `ports` a wider range; of those below 1024 there are no more",
        "ports: FIRST-LAST",
    ),
    "address_in_use": (
        "$listen is taken by a service of this host or by another pinhole",
        "have that service listen elsewhere",
        None,
    ),
    **_NO_SOCKET,
    "not_permitted": (
        "$listen is below 1024, and the daemon may not bind such ports",
        "give it the right (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
        None,
    ),
    "target_not_allowed": (
        "$target is an address of this host alone, of one link alone, or has no port: nothing is led there",
        _NOT_OURS,
        None,
    ),
    "target_is_gateway": (
        "$target is an address of this gateway and none of the session's two: its own services are not opened",
        _NOT_OURS,
        None,
    ),
    "third_host": (
        "$target is media of a host that is unknown: neither a party of the call nor named by the policy",
        "name that host in the options of the policy, if it is yours",
        None,
    ),
    "transport_not_carried": ("$target needs a transport that is not carried yet", _NOT_OURS, None),
    "offer_gone": ("the offer that it answers is over", "the parties will agree anew; nothing is to be done", None),
}

_FAILED: Mapping[str, tuple[str, str]] = {
    "server_refused": ("$dialled refused the connection", "nothing listens there, or its firewall rejects us"),
    "server_timeout": ("$dialled did not answer in time", "it is down, or a firewall drops what comes from us"),
    "server_unreachable": ("no route leads to $dialled", "look at `ip route get` for it"),
}

_ENDS: Mapping[str, tuple[str, str, str | None]] = {
    "never_used": (
        "nobody came in time, so it was closed",
        "if the peer needs longer, give it more time",
        "timeouts: {pinhole_open: SECONDS}",
    ),
    "closed_by_operator": ("an operator closed it", "the audit log says who did (`control.changed`)", None),
    "expired": ("its time was over", "whoever needs it has to ask again (as a phone registers again)", None),
    "target_refused": ("$target refused the connection", "nothing listens there, or its firewall rejects us", None),
    "target_timeout": ("$target did not answer in time", "it is down, or a firewall drops what comes from us", None),
    "target_unreachable": ("no route leads to $target", "look at `ip route get` for it", None),
}


def of_session(facts: Mapping[str, Any]) -> Why:
    """Why a session was denied or could not begin."""
    known = _known(facts)
    reason = str(facts["reason"])
    if reason in _SESSIONS:
        return _why(*_SESSIONS[reason], known)
    if reason in _FAILED:
        return _why(*_FAILED[reason], None, known)
    if reason.startswith("not_"):
        name = reason.removeprefix("not_")
        says = f"the first datagram from $client is none of {name}, though port $server_port is read as {name}"
        return _why(says, f"if other traffic uses that port, take it out of `session-helpers`: {name}", None, known)
    return _why(f"it failed: {reason}", "the audit log has the line", None, known)


def of_pinhole(facts: Mapping[str, Any], helper: Helper | None) -> Why:
    """Why a pinhole was not opened."""
    reason = str(facts["reason"])
    if reason.startswith("reader_"):
        inner = of_session({**facts, "reason": reason.removeprefix("reader_")})
        return inner._replace(says=f"no session would be let in through it: {inner.says}")
    says, remedy, line = _PINHOLES.get(reason, (f"it could not be opened: {reason}", _NOT_OURS, None))
    return _why(says, remedy, _option(helper, reason) or line, _known(facts))


def of_violation(facts: Mapping[str, Any], helper: Helper | None) -> Why:
    """Why what a peer did was not let pass."""
    rule = str(facts["rule"])
    says = f"{rule}: {facts.get('detail')} ({facts.get('action')}). {RULES.get(rule, '')}".rstrip()
    line = _option(helper, rule)
    remedy = "set this in the policy, if the peer may do so" if line else _NOT_OURS
    return Why(says, remedy, line)


def of_answer(event: str, facts: Mapping[str, Any]) -> Why:
    """Why a call failed, or a registration was refused: whoever was asked said no."""
    what = "the call" if event == "call.failed" else "the registration"
    words = " ".join(str(facts[name]) for name in ("code", "reason") if facts.get(name) not in (None, ""))
    return Why(f"{what} was refused: {words}", "pinhole only passed this answer on; ask whoever gave it", None)


def of_end(facts: Mapping[str, Any], reason: str) -> Why | None:
    """Why a pinhole that was open did not let its peer through. None: it ended in the ordinary way."""
    return _why(*_ENDS[reason], _known(facts)) if reason in _ENDS else None


def _option(helper: Helper | None, word: str) -> str | None:
    """The option of a helper that would let this pass."""
    option = None if helper is None else helper.permits.get(word)
    return None if helper is None or option is None else f"options: {{{helper.name}: {{{option}}}}}"


def _why(says: str, remedy: str, line: str | None, known: Mapping[str, Any]) -> Why:
    """The same with the facts in the place of their names."""
    texts = [None if text is None else Template(text).substitute(known) for text in (says, remedy, line)]
    return Why(str(texts[0]), str(texts[1]), texts[2])


class _Known(dict[str, Any]):
    """Facts for a sentence. What is not known is said to be."""

    def __missing__(self, _: str) -> str:
        return "(not known)"


def _known(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    known = _Known({name: value for name, value in facts.items() if value not in (None, "")})
    for side in ("client", "server"):
        if (at := place(str(facts.get(side)))) is not None:
            known[f"{side}_host"], known[f"{side}_port"] = at.host_text, at.port
    came_by = f"from: {facts['interface']}, " if facts.get("interface") else ""
    who, whom = known["client_host"], known["server_host"]
    known["a_policy"] = f"- {{name: for-{who}, {came_by}source: {who}, destination: {whom}, action: accept}}"
    return known
