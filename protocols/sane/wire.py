"""What is said in SANE: words, strings, arrays and pointers, none of which has a length in front of the whole (SA2).

    word      four bytes, the most significant one first
    string    a word, how many bytes follow; 0: none. A NUL stands at the end and is counted
    array     a word, how many elements follow
    pointer   a word, 0 or 1; at 0 the value follows

A form is a generator that walks one message: it asks for what comes next, and gets it. What it does not have to know
passes by and is never kept, passwords among it. `Stream` gives a form the bytes of one side, however they are cut.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import IntEnum
from typing import NamedTuple, TypeVar

from protocols.contract.addresses import Malformed

WORD = 4
MAX_ELEMENTS_BYTES = 1 << 20
"""The longest string, and the greatest array. libsane takes no greater one (MAX_MEM of sanei_wire.h)."""
MAX_MESSAGE_BYTES = 4 << 20
"""The longest message. libsane takes 1 MiB of all that it has to keep."""
MAX_NAME_BYTES = 128
"""How much of the name of a device is read, for the log."""
MAJOR = 1
"""The only version of SANE that there is."""
BYTE_ORDERS = (0x1234, 0x4321)
WITHOUT_AUTO_VALUE = 3
"""The version of the protocol from which a request for an automatic value has no value (SA7)."""


class Code(IntEnum):
    """What a client asks for, as the first word of its request."""

    INIT = 0
    GET_DEVICES = 1
    OPEN = 2
    CLOSE = 3
    GET_OPTION_DESCRIPTORS = 4
    CONTROL_OPTION = 5
    GET_PARAMETERS = 6
    START = 7
    CANCEL = 8
    AUTHORIZE = 9
    EXIT = 10


class Status(IntEnum):
    """How a request has ended."""

    GOOD = 0
    UNSUPPORTED = 1
    CANCELLED = 2
    DEVICE_BUSY = 3
    INVAL = 4
    EOF = 5
    JAMMED = 6
    NO_DOCS = 7
    COVER_OPEN = 8
    IO_ERROR = 9
    NO_MEM = 10
    ACCESS_DENIED = 11


def status_text(status: int) -> str:
    """The name of a status, or its number."""
    return Status(status).name.lower() if status <= max(Status) else str(status)


# -- a stream ----------------------------------------------------------------------------------------------------------


class Want(NamedTuple):
    """What a form asks for: so many bytes that it gets, or (`is_read` is false) that pass by."""

    size: int
    is_read: bool = True


A_WORD = Want(WORD)
START_HEAD = Want(4 * WORD)
"""The beginning of an answer to START, up to the length of its resource (SA4)."""
SOMETHING = Want(0)
"""Whatever comes: the form goes on with its first byte, and has read nothing."""

T = TypeVar("T")
Form = Generator[Want, bytes, T]


class Stream:
    """What one side says. What a form has asked for goes on when it asks for more, and not before."""

    __slots__ = ("_form", "_left", "_size", "_wanted", "held", "instead")

    def __init__(self, form: Form[None]) -> None:
        """form: of all that this side says. It never ends."""
        self.held = bytearray()
        """What has come and did not go on yet: less than the form has asked for."""
        self.instead: bytes | None = None
        """What goes on in the place of what the form got last. It is set by the form."""
        self._form = form
        self._wanted = next(form)
        self._left = 0
        """How many bytes pass by yet."""
        self._size = 0
        """How long the message is, as far as the form has asked for it."""

    def begin(self) -> None:
        """A message begins. It is called by the form."""
        self._size = 0

    def step(self) -> bytes | None:
        """What may go on next, perhaps nothing. None: more has to come first. Raises Malformed, and then what the form
        does not take is still held."""
        wanted, held = self._wanted, self.held
        if wanted.is_read:
            if not held or len(held) < wanted.size:
                return None
            data = bytes(held[: wanted.size])
            self._ask(data)
            del held[: wanted.size]
            data, self.instead = data if self.instead is None else self.instead, None
            return data
        if not self._left:
            self._ask(b"")
            return b""
        if not held:
            return None
        data = bytes(held[: self._left])
        del held[: self._left]
        self._left -= len(data)
        return data

    def _ask(self, data: bytes) -> None:
        self._wanted = self._form.send(data)
        self._left = 0 if self._wanted.is_read else self._wanted.size
        self._size += self._wanted.size
        if self._size > MAX_MESSAGE_BYTES:
            raise Malformed(f"a message of more than {MAX_MESSAGE_BYTES} bytes")


# -- what messages consist of ------------------------------------------------------------------------------------------


def word() -> Form[int]:
    """A number without a sign."""
    return int.from_bytes((yield A_WORD), "big")


def _count() -> Form[int]:
    """How many elements follow, each of which has a word at least."""
    return _checked((yield from word()), WORD)


def _checked(count: int, size: int = 1) -> int:
    """Raises Malformed, as forms do."""
    if count * size > MAX_ELEMENTS_BYTES:
        raise Malformed(f"{count} elements, or bytes of a string")
    return count


def string() -> Form[int]:
    """A string that is not read. Returns how many bytes it has; 0: there is none."""
    size = yield from word()
    yield from rest(size)
    return size


def rest(size: int) -> Form[None]:
    """What stands behind the length of a string."""
    yield Want(_checked(size), is_read=False)


def name() -> Form[bytes]:
    """The beginning of a string."""
    size = _checked((yield from word()))
    text = (yield Want(min(size, MAX_NAME_BYTES))) if size else b""
    yield Want(size - len(text), is_read=False)
    return text.partition(b"\0")[0]


def is_there() -> Form[bool]:
    """Whether what a pointer leads to follows."""
    is_null = yield from word()
    if is_null > 1:
        raise Malformed(f"{is_null} in the place of a pointer")
    return not is_null


def _words() -> Form[None]:
    count = yield from _count()
    yield Want(count * WORD, is_read=False)


def _strings() -> Form[None]:
    for _ in range((yield from _count())):
        yield from string()


_STRING, _GROUP = 3, 5
"""Types of options. Below a string are those of words; a button, as a group, has no value."""


def _value() -> Form[None]:
    """The type of an option, the size of its value, and the value. Its array alone says how long that is (SA6)."""
    kind = yield from word()
    if kind > _GROUP:
        raise Malformed(f"an option of type {kind}")
    yield A_WORD
    if kind < _STRING:
        yield from _words()
    elif kind == _STRING:
        yield from string()
    elif count := (yield from word()):
        raise Malformed(f"{count} elements in an option without a value")


# -- requests, behind their code ---------------------------------------------------------------------------------------

_SET_AUTO = 2
"""The action of CONTROL_OPTION that leaves the value to the server."""


def version() -> Form[int]:
    """A version of SANE. Returns that of the protocol, its last two bytes."""
    number = yield from word()
    if number >> 24 != MAJOR:
        raise Malformed(f"version {number >> 24} of SANE")
    return number & 0xFFFF


def control_option(has_auto_value: bool) -> Form[int]:
    """Returns the handle. has_auto_value: of the version that the server speaks (SA7)."""
    handle = yield from word()
    yield A_WORD
    action = yield from word()
    if action != _SET_AUTO or has_auto_value:
        yield from _value()
    return handle


def authorize() -> Form[None]:
    """A resource, a user and a password. Nothing of it is read."""
    for _ in range(3):
        yield from string()


# -- answers -----------------------------------------------------------------------------------------------------------


def initialized() -> Form[tuple[int, int]]:
    """The answer to INIT: a status and the server's version of the protocol, which has no meaning if it is not good."""
    status = yield from word()
    if status != Status.GOOD:
        yield A_WORD
        return status, 0
    return status, (yield from version())


def devices() -> Form[None]:
    """The answer to GET_DEVICES."""
    yield A_WORD
    for _ in range((yield from _count())):
        if (yield from is_there()):
            for _ in range(4):  # name, vendor, model, type
                yield from string()


def option_descriptors() -> Form[None]:
    """The answer to GET_OPTION_DESCRIPTORS, which has no status."""
    for _ in range((yield from _count())):
        if (yield from is_there()):
            yield from _option_descriptor()


def _option_descriptor() -> Form[None]:
    for _ in range(3):  # name, title, description
        yield from string()
    for _ in range(4):  # type, unit, size, capabilities
        yield A_WORD
    match (yield from word()):
        case 0:
            pass
        case 1:
            if (yield from is_there()):
                yield Want(3 * WORD, is_read=False)
        case 2:
            yield from _words()
        case 3:
            yield from _strings()
        case constraint:
            raise Malformed(f"a constraint of type {constraint}")


def controlled() -> Form[int]:
    """The answer to CONTROL_OPTION. Returns the length of the resource."""
    yield A_WORD  # status
    yield A_WORD  # info
    yield from _value()
    return (yield from string())


def parameters() -> Form[None]:
    """The answer to GET_PARAMETERS: a status, and six words about the picture."""
    yield Want(7 * WORD, is_read=False)


class Started(NamedTuple):
    """The beginning of an answer to START."""

    status: int
    port: int
    byte_order: int
    resource: int
    """The length of the resource that the client has to authorize itself for. 0: it need not."""


def read_started(head: bytes) -> Started:
    return Started(*(int.from_bytes(head[at : at + WORD], "big") for at in range(0, len(head), WORD)))


def with_port(head: bytes, port: int) -> bytes:
    """The same with another port."""
    return head[:WORD] + port.to_bytes(WORD, "big") + head[2 * WORD :]


def refused(head: bytes) -> bytes:
    """The same, if the server had denied it."""
    return Status.ACCESS_DENIED.to_bytes(WORD, "big") + bytes(WORD) + head[2 * WORD :]
