"""What is demonstrated: one line for each helper."""

from __future__ import annotations

from collections.abc import Mapping

from tools.demo import dcerpc, dns, ftp, irc, mgcp, pmap, pptp, rsh, rtsp, sane, sip, tftp, tns
from tools.demo.job import Demonstration

DEMONSTRATIONS: Mapping[str, Demonstration] = {
    demonstration.helper: demonstration
    for demonstration in (
        ftp.DEMONSTRATION,
        sip.DEMONSTRATION,
        tns.DEMONSTRATION,
        tftp.DEMONSTRATION,
        rsh.DEMONSTRATION,
        mgcp.DEMONSTRATION,
        irc.DEMONSTRATION,
        dns.DEMONSTRATION,
        rtsp.DEMONSTRATION,
        pmap.DEMONSTRATION,
        pptp.DEMONSTRATION,
        dcerpc.DEMONSTRATION,
        sane.DEMONSTRATION,
    )
}  # fmt: skip

NOT_SHOWN = frozenset(("h323", "ras"))
"""A demo installs what its Debian has, and the only endpoint of H.323 that can be had is one of Debian 11."""


def missing() -> str:
    """What is not installed of all this; empty when nothing is."""
    return ", ".join(filter(None, (demonstration.missing() for demonstration in DEMONSTRATIONS.values())))
