"""What is asked and answered (protocols/pmap/lookups.py), and programs by their names."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint, Malformed
from protocols.pmap.lookups import MAX_ENTRIES, read_dump, read_universal, universal
from protocols.pmap.options import PmapOptions
from protocols.pmap.programs import Procedure, name_of, number_of, procedure
from tests.harness.pmap_messages import MOUNTD, NFS, TCP, listed, numbers, rpcb

SERVER = Endpoint(ip_address("10.0.0.5"), 111)


def at(host: str, port: int) -> Endpoint:
    return Endpoint(ip_address(host), port)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"10.1.0.2.3.120", at("10.1.0.2", 888)),
        (b"fd02::2.8.1", at("fd02::2", 2049)),
        (b"::.0.111", at("::", 111)),
        (b"::ffff:10.1.0.2.0.111", at("::ffff:10.1.0.2", 111)),
        (b"0.0.0.0.255.255", at("0.0.0.0", 65535)),
        (b"10.1.0.2.0.0", None),
    ],
)
def test_a_universal_address(text: bytes, place: Endpoint | None) -> None:
    """PM12."""
    assert read_universal(text) == place
    assert place is None or read_universal(universal(place)) == place


@pytest.mark.parametrize(
    "text",
    [
        b"", b"10.1.0.2", b"10.1.0.2.3", b"10.1.0.2.3.256", b"10.1.0.2.256.0", b"10.1.0.2.03.4", b"10.1.0.2.+3.4",
        b"10.1.0.2.3.4 ", b"10.1.0.02.3.4", b"10.1.0.2.3.\xd9\xa3", b"fe80::1%eth0.3.4", b"host.3.4",
        b"1" * 60 + b".3.4",
    ],
)  # fmt: skip
def test_what_is_no_universal_address(text: bytes) -> None:
    """X4, X5."""
    with pytest.raises(Malformed):
        read_universal(text)


def test_a_list_names_where_each_entry_stands() -> None:
    answer = listed([rpcb(NFS, 3, b"tcp", b"0.0.0.0.8.1", b"me"), rpcb(MOUNTD, 3, b"local", b"/run/sock", b"me")])
    nfs, mountd = read_dump(4, answer, 0, SERVER)
    assert (nfs.program, nfs.at, mountd.at) == (NFS, at("0.0.0.0", 2049), None)
    assert (nfs.entry.start, nfs.entry.end, mountd.entry.end) == (0, mountd.entry.start, len(answer) - 4)
    assert answer[nfs.span.start : nfs.span.end] == numbers(11) + b"0.0.0.0.8.1\0"


def test_an_entry_that_cannot_be_read_is_no_reason_to_lose_the_others() -> None:
    answer = listed([rpcb(NFS, 3, b"tcp", b"nowhere", b""), rpcb(MOUNTD, 3, b"udp", b"10.0.0.5.3.124", b"")])
    assert [found.at for found in read_dump(3, answer, 0, SERVER)] == [None, at("10.0.0.5", 892)]


def test_a_list_has_a_bound() -> None:
    entry = numbers(NFS, 3, TCP, 2049)
    assert len(read_dump(2, listed([entry] * (MAX_ENTRIES - 1)), 0, SERVER)) == MAX_ENTRIES - 1
    with pytest.raises(Malformed, match="a list of more than"):
        read_dump(2, listed([entry] * MAX_ENTRIES), 0, SERVER)


@pytest.mark.parametrize("cut", range(1, 24, 4))
def test_a_list_that_is_not_whole_is_none(cut: int) -> None:
    with pytest.raises(Malformed):
        read_dump(2, listed([numbers(NFS, 3, TCP, 2049)])[:-cut], 0, SERVER)


def test_a_list_with_a_port_that_is_none_is_none() -> None:
    with pytest.raises(Malformed, match="port 65536"):
        read_dump(2, listed([numbers(NFS, 3, TCP, 65536)]), 0, SERVER)


# -- programs ----------------------------------------------------------------------------------------------------------


def test_procedures_have_the_numbers_of_their_version() -> None:
    assert [procedure(version, 3) for version in (2, 3, 4)] == [Procedure.GETPORT, *[Procedure.GETADDR] * 2]
    assert [procedure(version, 11) for version in (3, 4)] == [Procedure.OTHER, Procedure.GETADDRLIST]
    assert procedure(5, 3) is Procedure.OTHER


def test_programs_go_by_name_or_number() -> None:
    assert [number_of(program) for program in ("nfs", 100003, "100003")] == [NFS] * 3
    assert (name_of(NFS), name_of(400000)) == ("nfs", "400000")


@pytest.mark.parametrize("program", ["nsf", -1, 2**32, "", "\u0663"])
def test_a_program_that_nobody_knows_is_a_mistake(program: str | int) -> None:
    with pytest.raises(ValueError, match=r"^programs: .* is no program"):
        PmapOptions(programs=(program,))
    with pytest.raises(ValueError, match=r"^deny_programs: "):
        PmapOptions(deny_programs=(program,))


def test_what_is_denied_is_so_even_if_it_is_allowed() -> None:
    options = PmapOptions(programs=("nfs", "mountd"), deny_programs=(MOUNTD,))
    assert [options.may_be_found(program) for program in (NFS, MOUNTD, 100021)] == [True, False, False]
    assert PmapOptions(deny_programs=("nfs",)).may_be_found(MOUNTD)
