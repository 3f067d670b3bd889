"""Calls that are read, of the endpoint mapper and of DCOM; all others pass unread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protocols.dcerpc.association import Context
from protocols.dcerpc.interfaces import ACTIVATION, ENDPOINT_MAPPER, OXID_RESOLVER, SYSTEM_ACTIVATOR
from protocols.dcerpc.ndr import Joined
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.towers import Question
from protocols.dcerpc.wire import Uuid


class Operation(Enum):
    """What a call is, by its name in the standards (DC14, DC25, DC26)."""

    INSERT = "ept_insert"
    DELETE = "ept_delete"
    LOOKUP = "ept_lookup"
    MAP = "ept_map"
    MGMT_DELETE = "ept_mgmt_delete"
    RESOLVE = "ResolveOxid"
    RESOLVE2 = "ResolveOxid2"
    ALIVE2 = "ServerAlive2"
    GET_CLASS_OBJECT = "RemoteGetClassObject"
    CREATE_INSTANCE = "RemoteCreateInstance"
    REMOTE_ACTIVATION = "RemoteActivation"
    OTHER = "another call"

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__


_OPERATIONS = {
    (ENDPOINT_MAPPER, 3): {
        0: Operation.INSERT, 1: Operation.DELETE, 2: Operation.LOOKUP, 3: Operation.MAP, 6: Operation.MGMT_DELETE,
    },
    (OXID_RESOLVER, 0): {0: Operation.RESOLVE, 4: Operation.RESOLVE2, 5: Operation.ALIVE2},
    (SYSTEM_ACTIVATOR, 0): {3: Operation.GET_CLASS_OBJECT, 4: Operation.CREATE_INSTANCE},
    (ACTIVATION, 0): {0: Operation.REMOTE_ACTIVATION},
}  # fmt: skip
"""Interface and major version -> number of each operation that matters."""

WRITES = frozenset({Operation.INSERT, Operation.DELETE, Operation.MGMT_DELETE})
ASKED_IN_FULL = frozenset({Operation.MAP, Operation.GET_CLASS_OBJECT, Operation.CREATE_INSTANCE})
"""Those whose requests are read, too."""
ACTIVATES = frozenset({Operation.GET_CLASS_OBJECT, Operation.CREATE_INSTANCE, Operation.REMOTE_ACTIVATION})


def operation_of(context: Context | None, number: int, options: DcerpcOptions) -> Operation | None:
    """What a call is. None: it is none of an interface that is read here."""
    if context is None:
        return None
    uuid, version, _ = context.interface
    known = _OPERATIONS.get((uuid, version))
    if known is None or (uuid != ENDPOINT_MAPPER and options.dcom == "ignore"):
        return None
    return known.get(number, Operation.OTHER)


def refused_by(operation: Operation, options: DcerpcOptions) -> str | None:
    """The rule by which the server is not even asked (DC14, DC19). None: it is asked."""
    if operation in WRITES:
        return "dcerpc.epm_write"
    return "dcerpc.lookup" if operation is Operation.LOOKUP and options.lookup == "deny" else None


@dataclass(slots=True)
class Call:
    """A call on an interface that is read here."""

    context: int
    operation: Operation
    is_wide: bool
    request: Joined | None
    """The request, as far as it has come. None: it has gone on."""
    question: Question | None = None
    """Of an ept_map."""
    asked_for: Uuid | None = None
    """The class that an activation names."""
    is_read: bool = True
    """Whether its answer is read."""
    answer: Joined | None = None
    """As far as it has come."""
