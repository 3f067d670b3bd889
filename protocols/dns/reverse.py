"""Names of addresses: 5.0.1.10.in-addr.arpa (RFC 1035 s.3.5), and the same of IPv6 below ip6.arpa (RFC 3596 s.2.5)."""

from __future__ import annotations

from protocols.dns.wire import text_of_name, wire_of_name

_IPV4, _IPV6 = b".in-addr.arpa.", b".ip6.arpa."


def address_of(name: bytes) -> bytes | None:
    """The address that a name without compression is of. None: it is of none, or of a network."""
    text = text_of_name(name).lower()
    if text.endswith(_IPV4):
        parts = text.removesuffix(_IPV4).split(b".")
        if len(parts) != 4 or not all(part.isdigit() and len(part) <= 3 for part in parts):
            return None
        numbers = [int(part) for part in parts]
        if not all(number < 256 and b"%d" % number == part for number, part in zip(numbers, parts, strict=True)):
            return None  # another spelling of a number is another name
        return bytes(reversed(numbers))
    if text.endswith(_IPV6):
        digits = text.removesuffix(_IPV6).split(b".")
        if len(digits) != 32 or not all(len(digit) == 1 and digit in b"0123456789abcdef" for digit in digits):
            return None
        return bytes.fromhex(b"".join(reversed(digits)).decode())
    return None


def name_of(address: bytes) -> bytes:
    """The name of an address, without compression."""
    if len(address) == 4:
        labels, under = [str(number) for number in reversed(address)], _IPV4
    else:
        labels, under = list(reversed(address.hex())), _IPV6
    return wire_of_name(".".join(labels) + under.decode())
