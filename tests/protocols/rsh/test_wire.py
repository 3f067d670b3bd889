"""What is said before a command runs (protocols/rsh/wire.py)."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import RESERVED_PORTS, Malformed
from protocols.rsh.wire import REXEC, RSH, UNREAD, First, Strings, error, first, read_port, service_at


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", First.UNKNOWN),
        (b"1022", First.UNKNOWN),
        (b"12345678", First.UNKNOWN),
        (b"123456789", First.OTHER),
        (b"123456789\0", First.OTHER),
        (b"\0", First.PORT),
        (b"0\0", First.PORT),
        (b"1022\0alice\0", First.PORT),
        (b"12345678\0", First.PORT),
        (b"<34>1 - - -", First.SYSLOG),
        (b"57 <34>1 ", First.SYSLOG),
        (b" 57", First.OTHER),
        (b"57<34>", First.OTHER),
        (b"-1\0", First.OTHER),
        (b"\xd9\xa1\0", First.OTHER),  # a digit, in another script
        (b"GET / HTTP/1.1", First.OTHER),
        (b"\x16\x03\x01", First.OTHER),
    ],
    ids=repr,
)
def test_what_a_client_speaks_is_known_by_its_first_bytes(data: bytes, kind: First) -> None:
    """RS9. What was known by fewer bytes stays so."""
    assert first(data) is kind
    known = [first(data[:size]) for size in range(len(data) + 1)]
    assert [one for one in known if one is not First.UNKNOWN and one is not kind] == []


@pytest.mark.parametrize(
    ("text", "port"), [(b"", 0), (b"0", 0), (b"00", 0), (b"512", 512), (b"1023", 1023), (b"01000", 1000)]
)
def test_a_port_is_a_number_or_nothing(text: bytes, port: int) -> None:
    """RS2."""
    assert read_port(text, RSH.ports) == port


@pytest.mark.parametrize("text", [b"1", b"400", b"511", b"1024", b"70000", b"001000", b"000000", b"12345678"])
def test_no_other_port_is_one_of_rsh(text: bytes) -> None:
    with pytest.raises(Malformed, match="none from 512 to 1023"):
        read_port(text, RSH.ports)


@pytest.mark.parametrize("text", [b"511", b"65536", b"99999"])
def test_rexec_has_all_but_those_of_old_services(text: bytes) -> None:
    assert read_port(b"65535", REXEC.ports) == 65535
    with pytest.raises(Malformed, match="none from 512 to 65535"):
        read_port(text, REXEC.ports)


def test_the_service_is_known_by_its_port() -> None:
    """RS8: at another one, a second string may be a password."""
    assert [service_at(port) for port in (514, 512, 544, 513)] == [RSH, REXEC, UNREAD, UNREAD]
    assert RSH.ports == RESERVED_PORTS and UNREAD.most == ()


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_strings_come_in_any_pieces(size: int) -> None:
    strings, sent = Strings(RSH.most), b"alice\0bob\0uname -a\0input"
    rest = b"".join(strings.push(sent[at : at + size]) for at in range(0, len(sent), size))
    assert strings.whole == [b"alice", b"bob", b"uname -a"]
    assert strings.as_sent() + rest == sent


def test_strings_may_be_empty() -> None:
    strings = Strings(RSH.most)
    assert strings.push(b"\0\0") == b"" and not strings.are_whole
    assert strings.push(b"\0") == b"" and strings.are_whole


@pytest.mark.parametrize("number", range(3))
def test_each_string_has_a_longest_one(number: int) -> None:
    before = b"x\0" * number
    assert Strings(REXEC.most).push(before + b"x" * REXEC.most[number]) == b""
    with pytest.raises(Malformed, match=f"string {number + 1} is longer than {REXEC.most[number]} bytes"):
        Strings(REXEC.most).push(before + b"x" * (REXEC.most[number] + 1))


def test_an_error_of_ours_is_read_as_one_of_a_server() -> None:
    """RS6."""
    assert error("no port") == b"\1no port\n"
