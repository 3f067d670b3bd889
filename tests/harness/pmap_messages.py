"""Calls to a portmapper and its replies as bytes, as clients and servers write them."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.contract.addresses import Endpoint
from protocols.pmap.lookups import universal
from protocols.pmap.wire import number, text

NFS, MOUNTD, PORTMAPPER = 100003, 100005, 100000
NULL, SET, UNSET, GETPORT, GETADDR, DUMP, CALLIT = 0, 1, 2, 3, 3, 4, 5
GETVERSADDR, INDIRECT, GETADDRLIST, GETSTAT = 9, 10, 11, 12
TCP, UDP = 6, 17


def numbers(*values: int) -> bytes:
    return b"".join(map(number, values))


def call(
    version: int,
    procedure: int,
    arguments: bytes = b"",
    *,
    xid: int = 7,
    program: int = PORTMAPPER,
    credentials: bytes = bytes(8),
) -> bytes:
    return numbers(xid, 0, 2, program, version, procedure) + credentials + bytes(8) + arguments


def reply(results: bytes = b"", *, xid: int = 7, status: int = 0, verifier: bytes = bytes(8)) -> bytes:
    return numbers(xid, 1, 0) + verifier + number(status) + results


def getport(program: int = NFS, version: int = 3, protocol: int = TCP, xid: int = 7) -> bytes:
    return call(2, GETPORT, numbers(program, version, protocol, 0), xid=xid)


def port(value: int, xid: int = 7) -> bytes:
    return reply(number(value), xid=xid)


def rpcb(program: int, version: int, netid: bytes, address: bytes, owner: bytes) -> bytes:
    return numbers(program, version) + text(netid) + text(address) + text(owner)


def getaddr(
    program: int = NFS,
    netid: bytes = b"tcp",
    *,
    hint: bytes = b"",
    xid: int = 7,
    version: int = 4,
    procedure: int = GETADDR,
) -> bytes:
    return call(version, procedure, rpcb(program, 3, netid, hint, b"libtirpc"), xid=xid)


def address(at: Endpoint | bytes, xid: int = 7) -> bytes:
    return reply(text(at if isinstance(at, bytes) else universal(at)), xid=xid)


def listed(entries: Iterable[bytes]) -> bytes:
    return b"".join(number(1) + entry for entry in entries) + number(0)


def machine(name: bytes, uid: int) -> bytes:
    """Credentials of AUTH_SYS."""
    body = number(0x1234) + text(name) + numbers(uid, 100, 1, 100)
    return number(1) + text(body)


def in_fragments(body: bytes, *sizes: int) -> bytes:
    """A record whose first fragments have these sizes, and the last one the rest."""
    parts, at = [], 0
    for size in sizes:
        parts.append(number(size) + body[at : at + size])
        at += size
    return b"".join(parts) + number(0x80000000 | (len(body) - at)) + body[at:]
