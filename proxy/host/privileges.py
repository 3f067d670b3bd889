"""The rights of this process, and how it gives up those that serving does not need (capabilities(7), prctl(2)).

Serving takes two capabilities. A daemon that root starts has all of them and every file of the machine besides. So
before the first packet is read the process becomes an ordinary user and keeps the two. Root's rights that are needed
later on are left to a process beside it (`proxy/host/keeper.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
import struct
from pathlib import Path
from typing import NamedTuple

from proxy.errors import PinholeError

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, SETPCAP, NET_BIND_SERVICE, NET_ADMIN, NET_RAW = 0, 1, 2, 8, 10, 12, 13
BPF = 39
"""Numbers of linux/capability.h."""

SERVING = frozenset({NET_RAW, NET_BIND_SERVICE})
"""The two capabilities of serving. NET_RAW is for sockets on addresses of other hosts (IP_TRANSPARENT) and for their
mark; NET_BIND_SERVICE is for connections that must come from a port below 1024 (FTP's data from port 20, rsh)."""

USUAL_NAME = "pinhole"
USUAL_NUMBER = 65521
"""The user that serves where there is no user of that name: a number that nobody else has. systemd gives 61184 to 65519
to services of the moment, distributions number below, and 65534 is `nobody`, who has processes of others."""

_PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 8, 24, 38, 47
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4
_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class User(NamedTuple):
    """A user of this host, by numbers."""

    name: str
    uid: int
    gid: int


def user(wanted: str | None) -> User:
    """The user that serves. `wanted` is a name or a number. None: the user `pinhole` if there is one, otherwise a
    number of our own.

    Raises PinholeError when there is no such user.
    """
    name = wanted if wanted is not None else USUAL_NAME
    if name.isdecimal():
        number = int(name)
        with contextlib.suppress(KeyError):
            return User(name, number, pwd.getpwuid(number).pw_gid)
        return User(name, number, number)
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        if wanted is None:
            return User(str(USUAL_NUMBER), USUAL_NUMBER, USUAL_NUMBER)
        raise PinholeError(
            f"there is no user {name!r} to serve as: `useradd --system {name}`, or name another one by `user:`"
        ) from None
    return User(name, found.pw_uid, found.pw_gid)


def group(wanted: str) -> int:
    """The number of a group. Raises PinholeError when there is none of this name."""
    if wanted.isdecimal():
        return int(wanted)
    try:
        return grp.getgrnam(wanted).gr_gid
    except KeyError:
        remedy = f"`groupadd --system {wanted}`, or name another one by `control: look` or `change`"
        raise PinholeError(f"there is no group {wanted!r}: {remedy}") from None


def effective() -> frozenset[int]:
    """The capabilities that this process has now. Raises PinholeError without /proc."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)
    raise PinholeError("/proc/thread-self/status has no CapEff line; is /proc mounted?")


def become(who: User) -> None:
    """Become this user for good, if this process is root, and keep no capability but those of serving. This must be
    called before there is a second thread, since each thread has its own capabilities. Raises PinholeError."""
    had = effective()
    if os.geteuid() == 0 and who.uid != 0:
        _prctl(_PR_SET_KEEPCAPS, 1)
        _bound(SERVING, had)
        try:
            os.setgroups([])
            os.setresgid(who.gid, who.gid, who.gid)
            os.setresuid(who.uid, who.uid, who.uid)
        except OSError as error:
            raise PinholeError(
                f"cannot become the user {who.name}: {error.strerror}; in a container that has root alone, or may not "
                f"change users, `user: root` serves as root, with two capabilities all the same"
            ) from error
    else:
        _bound(SERVING, had)
    _keep(SERVING & had)


def keep(wanted: frozenset[int]) -> None:
    """Keep these capabilities, as far as this process has them, and no other. Commands that it starts have them too."""
    had = effective()
    _bound(wanted, had)
    _keep(wanted & had, for_commands=os.geteuid() != 0)


def _bound(wanted: frozenset[int], had: frozenset[int]) -> None:
    """No program that this process starts may ever have other capabilities than these."""
    if SETPCAP not in had:
        return  # without this right the bounding set stays, but `no_new_privs` keeps commands from gaining any
    for number in range(64):
        if number not in wanted and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            return  # this number is past the last capability that the kernel knows


def _keep(left: frozenset[int], for_commands: bool = False) -> None:
    """Give up all capabilities but these."""
    _libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)
    bits = sum(1 << number for number in left)
    header = struct.pack("=Ii", _VERSION_3, 0)
    words = [(bits >> shift) & 0xFFFFFFFF for shift in (0, 32)]
    data = b"".join(struct.pack("=III", word, word, word if for_commands else 0) for word in words)
    if _libc.capset(header, data):
        raise PinholeError(f"capabilities cannot be given up: {os.strerror(ctypes.get_errno())}")
    if for_commands:
        for number in left:
            _libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number, 0, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    """Call prctl(2). Raises PinholeError when it fails."""
    if _libc.prctl(option, value, 0, 0, 0):
        raise PinholeError(f"prctl({option}, {value}): {os.strerror(ctypes.get_errno())}")
