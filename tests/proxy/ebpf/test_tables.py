"""Rows: who may write them, what the daemon reads from them, and when one is used again."""

from __future__ import annotations

import errno
import os
import struct
import time
from pathlib import Path

import pytest

from proxy.ebpf import layout, syscall, tables
from proxy.ebpf.syscall import HASH, Shape
from proxy.ebpf.tables import Rows, Tables
from tests.harness.shell import descriptors
from tests.proxy.ebpf.conftest import BPF, CAPACITY, as_nobody, with_capabilities

Way = tuple[tables.Address, tables.Address, tables.Address, tables.Address]

PHONE, PLACE, OURS, PEER = ("10.1.0.2", 4000), ("10.1.0.1", 5000), ("192.0.2.1", 5002), ("192.0.2.2", 6000)
WAY: Way = PHONE, PLACE, OURS, PEER
WAY_6: Way = ("fd01::2", 4000, 0, 0), ("fd01::1", 5000), ("2001:db8::1", 5002), ("2001:db8::2", 6000, 0, 0)


def row_bytes(rows: Rows, number: int) -> bytes:
    return rows._memory[number * layout.ROW_BYTES :][: layout.ROW_BYTES]


def pass_packets(rows: Rows, number: int, packets: int, octets: int) -> None:
    """As the program would have counted them."""
    struct.pack_into("=QQ", rows._memory, number * layout.ROW_BYTES, octets, packets)


@pytest.mark.parametrize("way", (WAY, WAY_6))
def test_a_row_says_what_the_packet_has_and_will_have(rows: Rows, way: Way) -> None:
    row = rows.put(*way, 7)
    assert row is not None
    before, after = layout.BEFORE[row.version], layout.AFTER[row.version]
    written, hosts = row_bytes(rows, row.number), len(row.key) - 4
    assert row.key == written[before : before + hosts] + written[layout.PORTS_BEFORE : layout.PORTS_BEFORE + 4]
    assert written[layout.PORTS_BEFORE : layout.PORTS_AFTER + 4] == struct.pack("!HHHH", 4000, 5000, 5002, 6000)
    assert struct.unpack_from("=I", written, layout.INTERFACE) == (7,)
    (change,) = struct.unpack_from("=I", written, layout.SUM)
    words = struct.unpack(f"={hosts}H", written[before : before + hosts] + written[after : after + hosts])
    assert (sum(words[: hosts // 2]) + change - sum(words[hosts // 2 :])) % 0xFFFF == 0


def test_the_daemon_needs_no_right_but_the_descriptors(made: Tables) -> None:
    assert Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text() != "0\n"
    with as_nobody():
        with pytest.raises(PermissionError):
            tables.make_tables(8)
        rows = Rows(made)
        row = rows.put(*WAY, 0)
        assert row is not None
        pass_packets(rows, row.number, 3, 516)
        assert row.take_back() == (3, 516)
        rows.close()


def test_the_holder_needs_one_capability_for_tables() -> None:
    with with_capabilities(BPF):
        tables.make_tables(8).close()


def test_counts_are_read_after_the_row_is_out_and_stay(rows: Rows) -> None:
    row = rows.put(*WAY, 0)
    assert row is not None and row.is_in_force and rows.used == 1
    pass_packets(rows, row.number, 2, 344)
    assert row.counts() == (2, 344)
    pass_packets(rows, row.number, 3, 516)
    assert row.take_back() == row.take_back() == row.counts() == (3, 516)
    assert not row.is_in_force and rows.used == 0


def test_a_full_table_says_so_and_has_room_again_after_a_rest(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[Way] = [(("10.1.0.2", port), *WAY[1:]) for port in range(1, CAPACITY + 2)]
    standing = [rows.put(*way, 0) for way in ways[:-1]]
    assert None not in standing and rows.used == rows.capacity == CAPACITY
    assert rows.put(*ways[-1], 0) is None
    assert standing[0] is not None
    standing[0].take_back()
    assert rows.put(*ways[-1], 0) is None  # a packet on another processor might still find it
    later = time.monotonic() + tables.REST_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    again = rows.put(*ways[-1], 0)
    assert again is not None and again.number == standing[0].number and again.counts() == (0, 0)


@pytest.mark.parametrize("way", (WAY, WAY_6))
def test_a_resting_row_equals_no_packet_and_one_that_was_compared_finds_the_rest_of_it(rows: Rows, way: Way) -> None:
    """What another processor is rewriting just now must not go out with half of its addresses."""
    row = rows.put(*way, 7)
    assert row is not None
    before = row_bytes(rows, row.number)
    row.take_back()
    at, hosts = layout.BEFORE[row.version], len(row.key) - 4
    assert row_bytes(rows, row.number) == before[:at] + bytes(hosts) + before[at + hosts :]


def test_the_newest_stream_of_two_with_the_same_packets_has_them(rows: Rows) -> None:
    older = rows.put(*WAY, 0)
    assert older is not None
    pass_packets(rows, older.number, 5, 860)
    newer = rows.put(PHONE, PLACE, OURS, ("192.0.2.9", 6000), 0)
    assert newer is not None and newer.is_in_force and rows.used == 1
    assert not older.is_in_force and older.take_back() == (5, 860)
    assert newer.is_in_force  # and nobody but its owner takes it back
    newer.take_back()
    assert rows.put(*WAY, 0) is not None


def test_closing_takes_all_rows_back_and_counts_stay(made: Tables) -> None:
    before = descriptors()
    rows = Rows(made)
    row = rows.put(*WAY, 0)
    assert row is not None
    pass_packets(rows, row.number, 1, 172)
    rows.close()
    assert row.counts() == row.take_back() == (1, 172)
    assert descriptors() == before
    with pytest.raises(OSError) as raised:
        raise_unless_gone(made, row.key)
    assert raised.value.errno == errno.ENOENT


def raise_unless_gone(made: Tables, key: bytes) -> None:
    """The kernel deletes only what is there."""
    element = syscall.Element(made.four, len(key))
    element._key.raw = key
    syscall._bpf(3, element._delete, "to delete")


@pytest.mark.parametrize(
    "wrong",
    (
        (WAY_6[0], *WAY[1:]),
        (*WAY[:2], *WAY_6[2:]),
        (WAY[0], WAY_6[1], WAY_6[2], WAY[3]),
        (*WAY[:3], ("", 0)),
    ),
)
def test_a_way_between_two_ip_versions_has_no_row(rows: Rows, wrong: Way) -> None:
    with pytest.raises(ValueError, match="not "):
        rows.put(*wrong, 0)
    assert rows.used == 0


def test_the_lease_moves_on(rows: Rows) -> None:
    rows.keep()
    (until,) = struct.unpack_from("=Q", rows._memory, layout.LEASE_ROW * layout.ROW_BYTES + layout.VALID_UNTIL)
    left = until - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert 0 < left <= tables.LEASE_SECONDS * 1e9


def test_tables_of_another_version_are_refused(made: Tables) -> None:
    other = syscall.make_table(Shape(HASH, 12, 8, CAPACITY, 0, "pinhole_v4_2"))
    with pytest.raises(OSError, match="another version"):
        Rows(made._replace(four=other))
    os.close(other)


def test_a_kernel_that_does_not_know_the_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscall, "_NUMBER", -1)
    with pytest.raises(OSError, match="make the table pinhole_v4_1") as raised:
        tables.make_tables(8)
    assert raised.value.errno == errno.ENOSYS
