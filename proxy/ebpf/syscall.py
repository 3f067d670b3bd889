"""bpf(2), called by way of ctypes: the few commands that tables, programs and links need (linux/bpf.h).

A library for this would bring a compiler or a reader of ELF files; the commands are all that is needed of it. A process
without any capability may update, delete and map tables and close links from Linux 5.19 on, if it was given the
descriptors. To make tables takes CAP_BPF; to load a program that looks up routes takes CAP_BPF and CAP_NET_ADMIN, and
so does a link.

Every function raises OSError, with what the kernel was asked for in its text.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import sys
from typing import NamedTuple

_NUMBERS = {"x86_64": 321, "aarch64": 280}
"""machine -> the number of bpf(2) there."""

HASH, ARRAY = 1, 2
"""Types of tables: BPF_MAP_TYPE_HASH and BPF_MAP_TYPE_ARRAY."""
MAPPABLE = 1 << 10
"""BPF_F_MMAPABLE: the values of an array can be mapped into memory. Since Linux 5.5."""

_MAP_CREATE, _UPDATE, _DELETE, _PROG_LOAD, _TEST_RUN, _INFO, _QUERY, _LINK_CREATE = 0, 2, 3, 5, 10, 15, 16, 28

_SCHED_CLS = 3
"""BPF_PROG_TYPE_SCHED_CLS: a classifier, which tcx and clsact run for each packet."""
_TCX_INGRESS = 46
_FIRST = 1 << 3
"""BPF_F_BEFORE: before all other programs of the interface."""
_LAST = 1 << 4
"""BPF_F_AFTER: behind all of them."""
_MOST_PROGRAMS = 64
"""BPF_MPROG_MAX: how many the kernel attaches to one interface."""
_ANY_ALIGNMENT = 1 << 1
"""BPF_F_ANY_ALIGNMENT: words may stand anywhere in a packet, as the processors of _NUMBERS read them. A kernel that
does not know that of its processor (User-mode Linux) takes it from us."""
_LOG_BYTES = 1 << 20
_LOG_LINES = 20
"""How much of what the verifier says stands in the text of an error: the end tells why."""
_INSTRUCTION_BYTES = 8
_LOAD_TRIES = 5
"""As many as libbpf makes."""


class _MapCreate(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("key_bytes", ctypes.c_uint32),
        ("value_bytes", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("inner", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class _Element(ctypes.Structure):
    _fields_ = (
        ("map", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64),
        ("licence", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_bytes", ctypes.c_uint32),
        ("log", ctypes.c_uint64),
        ("kernel_version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class _TestRun(ctypes.Structure):
    _fields_ = (
        ("program", ctypes.c_uint32),
        ("answer", ctypes.c_uint32),
        ("in_bytes", ctypes.c_uint32),
        ("out_bytes", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("nanoseconds", ctypes.c_uint32),
        ("context_in_bytes", ctypes.c_uint32),
        ("context_out_bytes", ctypes.c_uint32),
        ("context_in", ctypes.c_uint64),
        ("context_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
    )


class _Info(ctypes.Structure):
    _fields_ = (("descriptor", ctypes.c_uint32), ("bytes", ctypes.c_uint32), ("info", ctypes.c_uint64))


class _MapInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_bytes", ctypes.c_uint32),
        ("value_bytes", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class _Query(ctypes.Structure):
    _fields_ = (
        ("interface", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("programs", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("program_flags", ctypes.c_uint64),
        ("links", ctypes.c_uint64),
        ("link_flags", ctypes.c_uint64),
        ("revision", ctypes.c_uint64),
    )


class _LinkCreate(ctypes.Structure):
    _fields_ = (
        ("program", ctypes.c_uint32),
        ("interface", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("relative", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("revision", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)
_libc.syscall.restype = ctypes.c_long
_NUMBER = _NUMBERS.get(platform.machine(), -1) if sys.byteorder == "little" else -1


def _bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
    """Ask the kernel; `what` is for the text of an error. On a machine whose number is not known the kernel answers
    ENOSYS, as it does where it was built without bpf(2)."""
    answer: int = _libc.syscall(_NUMBER, command, ctypes.addressof(attributes), ctypes.sizeof(attributes))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf(2), {what}: {os.strerror(code)}")
    return answer


# -- tables -----------------------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """What a table is made like."""

    type: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int
    name: str


def make_table(shape: Shape) -> int:
    """Returns the descriptor. The kernel frees a table when nobody has a descriptor of it and no program uses it."""
    kind, key, value, entries, flags, name = shape
    attributes = _MapCreate(kind, key, value, entries, flags, 0, 0, name.encode())
    return _bpf(_MAP_CREATE, attributes, f"to make the table {name}")


def shape(table: int) -> Shape:
    """How a table was made."""
    info = _MapInfo()
    _bpf(_INFO, _Info(table, ctypes.sizeof(info), ctypes.addressof(info)), "to ask what a table is like")
    return Shape(info.type, info.key_bytes, info.value_bytes, info.entries, info.flags, info.name.decode())


class Element:
    """A way to change the elements of a table. It is made once, because to make the structures of a call takes longer
    than the call."""

    def __init__(self, table: int, key_bytes: int) -> None:
        self._key = ctypes.create_string_buffer(key_bytes)
        self._value = ctypes.c_uint32()
        self._update = _Element(table, ctypes.addressof(self._key), ctypes.addressof(self._value), 0)
        self._delete = _Element(table, ctypes.addressof(self._key), 0, 0)

    def put(self, key: bytes, value: int) -> None:
        """Make the element of this key, or replace its value, which is a number of four bytes."""
        self._key.raw = key
        self._value.value = value
        _bpf(_UPDATE, self._update, "to put an element into a table")

    def remove(self, key: bytes) -> None:
        """Delete the element, if there is one."""
        self._key.raw = key
        try:
            _bpf(_DELETE, self._delete, "to delete an element of a table")
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


# -- programs and links -----------------------------------------------------------------------------------------------


def _load(attributes: _ProgLoad, what: str) -> int:
    """The verifier gives up with EAGAIN when a signal comes, as that of a child's end. It is delivered then."""
    for _ in range(_LOAD_TRIES - 1):
        with contextlib.suppress(BlockingIOError):
            return _bpf(_PROG_LOAD, attributes, what)
    return _bpf(_PROG_LOAD, attributes, what)


def load_program(name: str, instructions: bytes, licence: str) -> int:
    """Have the kernel verify a classifier. Returns its descriptor. If the verifier refuses it, the text of the error
    ends with its last words."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(licence.encode())
    attributes = _ProgLoad(
        type=_SCHED_CLS,
        count=len(instructions) // _INSTRUCTION_BYTES,
        instructions=ctypes.addressof(code),
        licence=ctypes.addressof(terms),
        flags=_ANY_ALIGNMENT,
        name=name.encode(),
    )
    try:
        return _load(attributes, f"to load the program {name}")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.E2BIG):
            raise
        # The kernel writes its log only when it is asked to, and takes longer then.
        log = ctypes.create_string_buffer(_LOG_BYTES)
        attributes.log_level, attributes.log_bytes, attributes.log = 1, _LOG_BYTES, ctypes.addressof(log)
        with contextlib.suppress(OSError):
            return _load(attributes, "")
        said = log.value.decode(errors="replace").splitlines()[-_LOG_LINES:]
        raise OSError(error.errno, "\n".join([str(error.strerror), *said])) from None


def link(program: int, interface: int, is_first: bool = True) -> int:
    """Run a classifier for each packet that comes in by this interface (tcx, Linux 6.6), before all others that do, or
    behind those that do now. Returns the descriptor of the link, which the kernel undoes with its last descriptor."""
    attributes = _LinkCreate(program, interface, _TCX_INGRESS, _FIRST if is_first else _LAST)
    return _bpf(_LINK_CREATE, attributes, f"to attach a program to interface {interface}")


def programs(interface: int) -> list[int]:
    """The numbers of the programs that run for each packet which comes in by this interface (tcx), in order."""
    found = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attributes = _Query(interface, _TCX_INGRESS, 0, 0, ctypes.addressof(found), len(found))
    _bpf(_QUERY, attributes, f"to ask for the programs of interface {interface}")
    return found[: attributes.count]


CONTEXT_BYTES = 192
"""struct __sk_buff, which has not grown since Linux 5.16."""
_TRIAL_BYTES = 8192


class Tried(NamedTuple):
    """What a program made of a packet."""

    answer: int
    packet: bytes
    context: bytes
    nanoseconds: int


class Trial:
    """Runs a classifier on packets that come from no interface. For tests: the kernel does all but the last step, which
    is to send the packet on."""

    def __init__(self, program: int, flags: int = 0) -> None:
        self._in = ctypes.create_string_buffer(_TRIAL_BYTES)
        self._out = ctypes.create_string_buffer(_TRIAL_BYTES)
        self._context = ctypes.create_string_buffer(CONTEXT_BYTES)
        self._context_out = ctypes.create_string_buffer(CONTEXT_BYTES)
        self._attributes = _TestRun(
            program=program,
            data_in=ctypes.addressof(self._in),
            data_out=ctypes.addressof(self._out),
            context_in=ctypes.addressof(self._context),
            context_out=ctypes.addressof(self._context_out),
            context_in_bytes=CONTEXT_BYTES,
            flags=flags,
        )

    def run(self, packet: bytes, context: bytes = b"", repeat: int = 1) -> Tried:
        """`packet` begins with an Ethernet header. `context` is struct __sk_buff as far as a test may set it."""
        ctypes.memmove(self._in, packet, len(packet))
        self._context.raw = context
        attributes = self._attributes
        attributes.in_bytes, attributes.out_bytes = len(packet), ctypes.sizeof(self._out)
        attributes.context_out_bytes = CONTEXT_BYTES
        attributes.repeat = repeat
        _bpf(_TEST_RUN, attributes, "to try a program")
        made = ctypes.string_at(self._out, attributes.out_bytes)
        answer = ctypes.c_int32(attributes.answer).value
        return Tried(answer, made, self._context_out.raw, attributes.nanoseconds)
