"""What the payload types of a stream mean, as the description of the presentation says (RFC 2326 appendix C).

A description opens nothing (RT34). It names each medium by a=control, and SETUP repeats that name at the end of its
URL.
"""

from __future__ import annotations

import re

from protocols.contract.addresses import Malformed
from protocols.contract.pinholes import Codecs
from protocols.rtsp.urls import SDP
from protocols.rtsp.wire import Head
from protocols.sdp.codecs import codecs_of
from protocols.sdp.reading import read_sdp

MAX_KEPT = 16
"""Media of one description."""

_CONTROL = re.compile(rb"(?i)\na=control:[ \t]*([^\r\n]{1,1024}+)")


class Described:
    """The media of the description that came last."""

    __slots__ = ("_media",)

    def __init__(self) -> None:
        self._media: dict[bytes, Codecs] = {}
        """The end of the URL of a medium -> its codecs."""

    def read(self, head: Head) -> None:
        """A message may bring a description."""
        if not head.body or not is_description(head):
            return
        try:
            media = read_sdp(head.body).media[:MAX_KEPT]
        except Malformed:
            return  # the two ends may understand it all the same
        self._media.clear()
        for medium in media:
            end = medium.text.find(b"\nm=", medium.start + 1)
            control = _CONTROL.search(medium.text, medium.start, end if end > 0 else len(medium.text))
            if control is not None:
                self._media[control[1].rstrip().rpartition(b"/")[2]] = codecs_of(medium.text, medium.start)

    def codecs(self, url: bytes) -> Codecs | None:
        """The codecs of the medium with this URL."""
        return self._media.get(url.rpartition(b"/")[2])


def is_description(head: Head) -> bool:
    """Whether the body is one. Only then it is held until it is whole."""
    return head.first(b"content-type").lower().startswith(SDP)
