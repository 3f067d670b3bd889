"""What the payload types of a medium stand for: `a=rtpmap`, and the static ones.

RFC 8866 s.6.6 (a=rtpmap), RFC 3551 s.6 (static payload types). Descriptions of one phone name the same codecs in every
call, so what they say is read once.
"""

from __future__ import annotations

import re
from functools import lru_cache

from protocols.contract.pinholes import Codec

_STATIC = {
    0: Codec("PCMU", 8000),
    3: Codec("GSM", 8000),
    4: Codec("G723", 8000),
    5: Codec("DVI4", 8000),
    6: Codec("DVI4", 16000),
    7: Codec("LPC", 8000),
    8: Codec("PCMA", 8000),
    9: Codec("G722", 8000),
    10: Codec("L16", 44100),
    11: Codec("L16", 44100),
    12: Codec("QCELP", 8000),
    13: Codec("CN", 8000),
    14: Codec("MPA", 90000),
    15: Codec("G728", 8000),
    16: Codec("DVI4", 11025),
    17: Codec("DVI4", 22050),
    18: Codec("G729", 8000),
    25: Codec("CelB", 90000),
    26: Codec("JPEG", 90000),
    28: Codec("nv", 90000),
    31: Codec("H261", 90000),
    32: Codec("MPV", 90000),
    33: Codec("MP2T", 90000),
    34: Codec("H263", 90000),
}

_RTPMAP = re.compile(rb"\na=(?i:rtpmap):[ \t]*+([0-9]{1,3}+[ \t]++[^ \t\r\n/]{1,64}+/[1-9][0-9]{0,8})")


class Named:
    """The codecs that a description names."""

    __slots__ = ("_named",)

    def __init__(self, named: dict[int, Codec]) -> None:
        self._named = named

    def of(self, payload_type: int) -> Codec | None:
        """The codec; None for one that is neither named nor static."""
        return self._named.get(payload_type) or _STATIC.get(payload_type)


def codecs_of(text: bytes, start: int) -> Named:
    """The codecs of the medium whose m= line begins at `start`. Line ends of the text are LF, perhaps after CR."""
    end = text.find(b"\nm=", start + 1)
    return _named(tuple(_RTPMAP.findall(text, start, len(text) if end < 0 else end)))


@lru_cache(maxsize=1024)
def _named(lines: tuple[bytes, ...]) -> Named:
    """These lines as codecs."""
    named = {}
    for line in lines:
        kind, _, value = line.replace(b"\t", b" ").partition(b" ")
        name, _, rate = value.strip(b" ").partition(b"/")
        named[int(kind)] = Codec(name.decode("latin-1"), int(rate))
    return Named(named)
