"""What a policy may set under `options: dns:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from protocols.contract.addresses import Count, Network, Seconds
from protocols.contract.engine import Options
from protocols.dns.wire import wire_of_name

PERMITS = {
    "dns.unasked": "match_case: false",
    "dns.second_answer": "late: pass",
    "dns.rebinding": "local_domains: [NAME]",
    "dns.not_dns": "not_dns: pass",
    "not_dns": "not_dns: pass",
}
"""Rule of a violation, or reason of a refused session -> the option that would let it pass."""


@dataclass(frozen=True)
class DnsOptions(Options):
    """What a policy may set under `options: dns:`."""

    translate: Mapping[Network, Network] = field(default_factory=dict, hash=False)
    """Addresses in answers that are replaced by others, as {203.0.113.0/28: 10.1.0.0/28}: both networks have the same
    size, and the bits behind their prefixes stay. It holds for the answers that the policy's clients get: A, AAAA, the
    hints of SVCB and HTTPS, and with `ptr` also names of addresses."""

    published: Literal["keep", "translate"] = "keep"
    """`translate`: addresses in answers are translated as `dnat` of the policies maps them, where they publish a single
    address. Clients for whom an address is published get that one in place of the server's own, and clients on the
    server's side of the gateway get the server's own."""

    translated_ttl: Seconds = 60.0
    """Seconds for which a client may remember a translated address, at most: one that moves to another network should
    not keep it."""

    dnssec: Literal["keep", "strip", "translate"] = "keep"
    """What becomes of an address whose records are signed. `keep`: it is left alone, and the audit log says so.
    `strip`: it is translated, and its signatures are taken out. `translate`: it is translated, and whoever checks the
    signatures finds them wrong."""

    ptr: bool = False
    """Whether questions for the name of a translated address (PTR) ask for the one that the server knows."""

    rebinding: Literal["off", "refuse"] = "off"
    """`refuse`: answers that name addresses of private networks, of loopback, of a single link or of this gateway are
    answered with REFUSED in their place, unless these addresses are translated. Names of the internet that lead into
    one's own network let web pages reach what stands there."""

    local_domains: tuple[str, ...] = ()
    """Domains whose names may have such addresses, as corp.example."""

    match_case: bool = True
    """Whether an answer must repeat its question in the same upper and lower case. Resolvers that mix the case of names
    at random make forged answers unlikely by that. `false` is for servers that answer in lower case."""

    late: Literal["drop", "pass"] = "drop"
    """What becomes of a further answer to a question that has been answered. The audit log has a line if it is another
    one, which is the mark of a forged answer."""

    not_dns: Literal["deny", "pass"] = "deny"
    """What becomes of a session that does not begin with a question. `pass`: it is relayed unread."""

    unanswered_seconds: Seconds = 15.0
    """Seconds for which a question over UDP may be answered. Resolvers ask again after five, or sooner."""

    linger_seconds: Seconds = 1.0
    """Seconds for which a session over UDP stands behind its last answer, to see a further one."""

    stream_idle: Seconds = 300.0
    """Seconds without a whole message after which a TCP connection is closed. Servers close theirs sooner."""

    max_questions: Count = 4096
    """How many questions of one session may wait for their answers at once. For one more the oldest is forgotten."""

    log_questions: bool = False
    """Whether the audit log has a line for each question. Names are personal data: to log them needs a reason."""

    def __post_init__(self) -> None:
        for before, after in self.translate.items():
            if before.version != after.version or before.prefixlen != after.prefixlen:
                raise ValueError(f"translate: {before} and {after} have not the same size")
        for after in self.translate.values():
            for before in self.translate:
                if before.version == after.version and before.overlaps(after):
                    raise ValueError(f"translate: {after} would be translated again, by {before}")
        for name in self.local_domains:
            try:
                wire_of_name(name)
            except ValueError as error:
                raise ValueError(f"local_domains: {error}") from None
