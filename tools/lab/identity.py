"""An ordinary user with two capabilities: a program that `setpriv` begins, or a process that becomes one."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import struct
from collections.abc import Mapping

from proxy.host.privileges import NET_BIND_SERVICE, NET_RAW

USER, GROUP = "nobody", "nogroup"
# What the serving process needs, and nothing else: a pinhole is a socket, and no rule changes.
CAPABILITIES: Mapping[str, int] = {"net_raw": NET_RAW, "net_bind_service": NET_BIND_SERVICE}

_HELD = ",".join(("-all", *(f"+{name}" for name in CAPABILITIES)))
SETPRIV = (
    *("setpriv", "--reuid", USER, "--regid", GROUP, "--clear-groups"),
    *("--inh-caps", _HELD, "--ambient-caps", _HELD, "--bounding-set", _HELD),
)
"""Begins the command that follows as that user."""

_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 4, 8, 24, 47
_AMBIENT_RAISE = 2
_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def become() -> None:
    """This process becomes what `SETPRIV` begins: `tests/netns/test_forks.py` holds one against the other."""
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    for number in range(64):
        if number not in CAPABILITIES.values() and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            break  # past the last one that the kernel knows
    os.setgroups([])
    group, user = grp.getgrnam(GROUP).gr_gid, pwd.getpwnam(USER).pw_uid
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    bits = sum(1 << number for number in CAPABILITIES.values())
    _call("capset", struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", bits, bits, bits, 0, 0, 0))
    for number in CAPABILITIES.values():
        _call("prctl", _PR_CAP_AMBIENT, _AMBIENT_RAISE, number, 0, 0)
    # What the beginning of a program puts back.
    _call("prctl", _PR_SET_KEEPCAPS, 0, 0, 0, 0)
    _call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def _call(name: str, *arguments: int | bytes) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
