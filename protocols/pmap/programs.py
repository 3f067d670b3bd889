"""Programs of ONC RPC by number and name, and the procedures of the portmapper (RFC 1833)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import lru_cache

NAMES: Mapping[int, str] = {
    100000: "portmapper", 100001: "rstatd", 100002: "rusersd", 100003: "nfs", 100004: "ypserv", 100005: "mountd",
    100007: "ypbind", 100008: "walld", 100009: "yppasswdd", 100011: "rquotad", 100012: "sprayd", 100021: "nlockmgr",
    100024: "status", 100026: "bootparam", 100068: "cmsd", 100083: "ttdbserverd", 100227: "nfs_acl",
    100232: "sadmind", 150001: "pcnfsd", 395180: "vxi11_abort", 395181: "vxi11_intr", 395183: "vxi11_core",
}  # fmt: skip
"""number -> name, as rpc(5) has them. Others go by their number."""

NUMBERS: Mapping[str, int] = {name: number for number, name in NAMES.items()}


def number_of(program: str | int) -> int:
    """The number of a program that a configuration names, by number or name. Raises ValueError."""
    if isinstance(program, int) or (program.isascii() and program.isdigit()):
        if 0 <= (number := int(program)) <= 0xFFFFFFFF:
            return number
    elif program in NUMBERS:
        return NUMBERS[program]
    raise ValueError(f"{program!r} is no program; there are numbers, and of names {', '.join(NUMBERS)}")


@lru_cache(maxsize=256)
def numbers_of(programs: tuple[str | int, ...]) -> frozenset[int]:
    """The same of several. Each call of a client asks for those of its policy."""
    return frozenset(map(number_of, programs))


def name_of(program: int) -> str:
    """The program for people."""
    return NAMES.get(program, str(program))


class Procedure(Enum):
    """What a portmapper can be asked, by the names of RFC 1833."""

    NULL = "NULL"
    SET = "SET"
    UNSET = "UNSET"
    GETPORT = "GETPORT"
    GETADDR = "GETADDR"
    GETVERSADDR = "GETVERSADDR"
    GETADDRLIST = "GETADDRLIST"
    DUMP = "DUMP"
    CALLIT = "CALLIT"
    INDIRECT = "INDIRECT"
    GETSTAT = "GETSTAT"
    OTHER = "OTHER"
    """What concerns no address, and what nobody knows."""


_OF_RPCBIND = {
    0: Procedure.NULL, 1: Procedure.SET, 2: Procedure.UNSET, 3: Procedure.GETADDR, 4: Procedure.DUMP,
    5: Procedure.CALLIT,
}  # fmt: skip
"""Of versions 3 and 4 alike. Version 4 calls the last one BCAST."""

_PROCEDURES: Mapping[int, Mapping[int, Procedure]] = {
    2: {**_OF_RPCBIND, 3: Procedure.GETPORT},
    3: _OF_RPCBIND,
    4: {
        **_OF_RPCBIND,
        9: Procedure.GETVERSADDR,
        10: Procedure.INDIRECT,
        11: Procedure.GETADDRLIST,
        12: Procedure.GETSTAT,
    },
}
"""version of the portmapper -> number -> procedure."""


def procedure(version: int, number: int) -> Procedure:
    """What a call to the portmapper asks for."""
    return _PROCEDURES.get(version, {}).get(number, Procedure.OTHER)
