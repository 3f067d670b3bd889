"""Messages that tests begin with, and PER written by hand."""

from __future__ import annotations

FAST_SETUP = bytes.fromhex(
    "030000f90802004a0504038090a3280261007e00e40520b8060008914a00040240030061007300740061010043a22cb8000027056f6f6833"
    "32330676302e382e336d000140030074006f006e0065000a02000206b8007f808182838485868788898a8b8c8d8e00d51d980007000a0100"
    "022efe11006f6f68333233632d7d2acce6cd3f002e63041d4003e806040100 4c60138011140001000a010002272e000a010002272f120003"
    "e90c6013800a040001000a010002272f1d4003ea060401004c20138011140001000a010002272e000a010002272f120003eb0c2013800a04"
    "0001000a010002272f01000100010001000100010010800100"
)
"""A Setup with fast start of Asterisk's chan_ooh323, TPKT included (HF67): 10.1.0.2 seven times, 10.2.0.2 once."""


class Bits:
    """Writes aligned PER."""

    def __init__(self) -> None:
        self._text = ""

    def bits(self, text: str) -> Bits:
        self._text += text.replace(" ", "")
        return self

    def octets(self, data: bytes) -> Bits:
        """From an octet's border on."""
        self._text += "0" * (-len(self._text) % 8) + "".join(f"{octet:08b}" for octet in data)
        return self

    def counted(self, data: bytes) -> Bits:
        """With their length before them."""
        size = len(data)
        return self.octets((bytes((size,)) if size < 128 else (0x8000 | size).to_bytes(2, "big")) + data)

    def done(self) -> bytes:
        text = self._text + "0" * (-len(self._text) % 8)
        return int(text or "0", 2).to_bytes(len(text) // 8, "big")
