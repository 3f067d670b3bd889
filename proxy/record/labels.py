"""The values of labels that metrics have from the start. A series that appears with its first event comes too late for
`rate()`, which sees no increase from nothing to one."""

from __future__ import annotations

# What the policies and the limits say, and then what the sockets of a flow may lack.
DENIED = (
    "denied_by_policy",
    "no_policy",
    "no_helper",
    "no_snat_address",
    "client_other_family",
    "link_local",
    "limit_total",
    "limit_per_client",
    "loop",
    "audit_unavailable",
    "address_in_use",
    "no_free_port",
    "no_descriptors",
    "no_memory",
    "server_unreachable",
)
"""Why a session is denied. `not_` and the name of a helper come to these."""

FAILED = tuple(
    f"server_{why}"
    for why in ("refused", "timeout", "no_descriptors", "no_source_port", "not_permitted", "unreachable")
)
"""Why a server cannot be reached: `dial_failure` in `proxy/errors.py`."""

REFUSED = (
    "limit_per_session",
    "limit_per_client",
    "limit_total",
    "limit_of_offers",
    "address_in_use",
    "no_free_port",
    "no_descriptors",
    "no_memory",
    "not_permitted",
    "bind_failed",
    "target_not_allowed",
    "target_is_gateway",
    "third_host",
    "transport_not_carried",
)
"""Why a pinhole is refused. `reader_` and a reason of the first list come to these."""

PROMOTED = (
    "kernel",
    "no_row",
    "no_holder",
    "no_interface",
    "two_versions",
    "place_of_ours",
    "nowhere",
    "marked",
)
"""What becomes of a stream that is offered to the kernel (`proxy/movers/kernel.py`)."""

DEMOTED = ("lane", "newer_lane", "no_interface", "no_program")
"""Why the kernel carries a stream no more; `lane`: the stream is over, or goes another way now."""
