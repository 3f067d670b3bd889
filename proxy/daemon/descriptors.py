"""How many descriptors this process has, may have, and can need."""

from __future__ import annotations

import os
import resource

from proxy.config.schema import Limits
from proxy.text import say

PER_SESSION = 3
"""This counts both legs of a session, and for some sessions with a transfer two sockets and a pipe."""
PER_PINHOLE = 2
"""A pinhole of media has one socket for RTP and one for RTCP."""


def raise_limit(limits: Limits) -> None:
    """Take as many descriptors as the system allows, and tell the operator if `limits` can need more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.sessions * PER_SESSION + limits.pinholes * PER_PINHOLE
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < wanted:
        say(
            f"at most {hard} descriptors, but limits.sessions ({limits.sessions}) and limits.pinholes "
            f"({limits.pinholes}) can need {wanted}: raise the limit (systemd: LimitNOFILE={wanted}) or lower them"
        )


def in_use() -> int:
    """How many descriptors are in use. When not even one is left to count them with, all of them are."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
