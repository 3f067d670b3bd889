"""What is looked for in each message, and under which label it is found (HF14, HF15, HF20).

There are two walkers for each kind of message. Where no address is mapped, only those addresses are looked for that
open something. With NAT all others are found, too, under the label `ADDRESS`, and mapped if their value is known.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from protocols.h323 import h225_types, h245_types, schema
from protocols.h323.walker import Walker, Wanted

ADDRESS = "address"
"""The label of an address that is only a name of somebody."""
TRAVERSAL = frozenset((17, 18, 19))
"""Features of H.460 by which endpoints cross a NAT themselves (HF62)."""


def _aliases(label: str) -> Wanted:
    """The names that people are known by."""
    return dict.fromkeys(("dialledDigits", "h323-ID", "url-ID", "email-ID"), label)


_GUID: Wanted = {"guid": "callIdentifier"}
_SIGNED: Wanted = {"nestedcryptoToken": {"cryptoHashedToken": "signed"}}
_FEATURE: Wanted = {"id": {"standard": "feature"}}
_FEATURES: Wanted = dict.fromkeys(("neededFeatures", "desiredFeatures", "supportedFeatures"), _FEATURE)
_OF_A_CALL: Wanted = {
    "h245Address": "h245Address",
    "callIdentifier": _GUID,
    "cryptoTokens": _SIGNED,
    "fastStart": "fastStart",
    "featureSet": _FEATURES,
}
_CALL: Wanted = {
    "h323-uu-pdu": {
        "h323-message-body": {
            "": "body",
            "setup": {
                **_OF_A_CALL,
                **_FEATURES,
                "sourceAddress": _aliases("caller"),
                "destinationAddress": _aliases("callee"),
                "destCallSignalAddress": "destCallSignalAddress",
                "sourceCallSignalAddress": "sourceCallSignalAddress",
                "parallelH245Control": "parallelH245Control",
            },
            "facility": {
                **_OF_A_CALL,
                "alternativeAddress": "alternativeAddress",
                "alternativeAliasAddress": _aliases("alternativeAlias"),
                "reason": {"": "reason"},
            },
            "releaseComplete": {"callIdentifier": _GUID, "reason": {"": "reason"}},
            "*": _OF_A_CALL,
        },
        "h245Tunnelling": "h245Tunnelling",
        "h245Control": "h245Control",
    }
}

_FORWARD: Wanted = {
    "sessionID": "sessionID",
    "mediaChannel": "forward.mediaChannel",
    "mediaControlChannel": "forward.mediaControlChannel",
}
_REVERSE: Wanted = {
    "multiplexParameters": {
        "h2250LogicalChannelParameters": {
            "sessionID": "sessionID",
            "mediaChannel": "reverse.mediaChannel",
            "mediaControlChannel": "reverse.mediaControlChannel",
        }
    }
}
_DATA: Wanted = {
    "": "dataType",
    "data": {"application": {"": "application", "t38fax": {"t38FaxProtocol": {"": "t38"}}}},
}
_STACK: Wanted = {"networkAddress": {"localAreaAddress": "separateStack"}, "t120SetupProcedure": {"": "t120"}}
_NUMBER: Wanted = {"forwardLogicalChannelNumber": "number"}
_OPEN: Wanted = {
    **_NUMBER,
    "forwardLogicalChannelParameters": {
        "dataType": _DATA,
        "multiplexParameters": {"h2250LogicalChannelParameters": _FORWARD},
    },
    "reverseLogicalChannelParameters": {"dataType": {"": "reverse"}, **_REVERSE},
    "separateStack": _STACK,
}
_MODES: Wanted = {
    "communicationModeTable": {"mediaChannel": "mediaChannel", "mediaControlChannel": "mediaControlChannel"}
}
_CONTROL: Wanted = {
    "request": {
        "": "message",
        "openLogicalChannel": _OPEN,
        "closeLogicalChannel": _NUMBER,
        "requestChannelClose": _NUMBER,
    },
    "response": {
        "": "message",
        "openLogicalChannelAck": {
            **_NUMBER,
            "reverseLogicalChannelParameters": _REVERSE,
            "separateStack": _STACK,
            "forwardMultiplexAckParameters": {"h2250LogicalChannelAckParameters": _FORWARD},
        },
        "openLogicalChannelReject": _NUMBER,
        "closeLogicalChannelAck": _NUMBER,
        "communicationModeResponse": _MODES,
    },
    "command": {"": "message", "communicationModeCommand": _MODES},
    "indication": {"": "message", "mcLocationIndication": {"signalAddress": "signalAddress"}},
}

_SEQ: Wanted = {"requestSeqNum": "requestSeqNum"}
_ALTERNATES: Wanted = {
    "alternateGatekeeper": {"rasAddress": "alternate"},
    "assignedGatekeeper": {"rasAddress": "alternate"},
}
_REFUSED: Wanted = {**_SEQ, "rejectReason": {"": "reason"}, "altGKInfo": _ALTERNATES}
_IDENTIFIER: Wanted = {"endpointIdentifier": "endpointIdentifier"}
_RAS: Wanted = {
    "": "message",
    "gatekeeperRequest": {**_SEQ, "rasAddress": "rasAddress", "cryptoTokens": _SIGNED},
    "gatekeeperConfirm": {**_SEQ, **_ALTERNATES, "rasAddress": "rasAddress"},
    "registrationRequest": {
        **_SEQ,
        **_IDENTIFIER,
        "callSignalAddress": "callSignalAddress",
        "rasAddress": "rasAddress",
        "terminalAlias": _aliases("alias"),
        "timeToLive": "timeToLive",
        "keepAlive": "keepAlive",
        "cryptoTokens": _SIGNED,
        "featureSet": _FEATURES,
    },
    "registrationConfirm": {
        **_SEQ,
        **_IDENTIFIER,
        **_ALTERNATES,
        "callSignalAddress": "callSignalAddress",
        "terminalAlias": _aliases("alias"),
        "timeToLive": "timeToLive",
        "featureSet": _FEATURES,
    },
    "unregistrationRequest": {**_SEQ, **_IDENTIFIER, "callSignalAddress": "callSignalAddress"},
    "admissionRequest": {
        **_SEQ,
        "destCallSignalAddress": "destCallSignalAddress",
        "srcCallSignalAddress": "srcCallSignalAddress",
        "answerCall": "answerCall",
        "callIdentifier": _GUID,
        "cryptoTokens": _SIGNED,
    },
    "admissionConfirm": {**_SEQ, "callModel": {"": "callModel"}, "destCallSignalAddress": "destCallSignalAddress"},
    "locationRequest": {**_SEQ, "replyAddress": "replyAddress"},
    "locationConfirm": {**_SEQ, "callSignalAddress": "callSignalAddress", "rasAddress": "rasAddress"},
    "infoRequest": {**_SEQ, "replyAddress": "replyAddress"},
    "infoRequestResponse": {**_SEQ, "rasAddress": "rasAddress", "callSignalAddress": "callSignalAddress"},
    "serviceControlIndication": {**_SEQ, "genericData": _FEATURE},
    "*": _REFUSED,
}


class Walkers(NamedTuple):
    """The walkers of a session."""

    call: Walker
    """Of H323-UserInformation, in call signalling."""
    control: Walker
    """Of messages of H.245."""
    channel: Walker
    """Of one OpenLogicalChannel, as fastStart has them."""
    ras: Walker


@cache
def walkers(is_mapped: bool) -> Walkers:
    """Those for sessions with NAT, or without. They are made once, when they are first needed."""
    h225, h245 = schema.read(h225_types.TYPES), schema.read(h245_types.TYPES)
    by_value = ADDRESS if is_mapped else None
    return Walkers(
        Walker(h225, "H323-UserInformation", _CALL, by_value),
        Walker(h245, "MultimediaSystemControlMessage", _CONTROL, by_value),
        Walker(h245, "OpenLogicalChannel", _OPEN, by_value),
        Walker(h225, "RasMessage", _RAS, by_value),
    )
