"""A part of the search with random packets (tools/fuzz/kernel.py), and that it finds what it is there for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType

import pytest

from proxy.ebpf import program, rewriting
from tests.harness import kernel_path
from tests.harness.kernel_path import Site
from tools.fuzz.kernel import VARIANTS, Disagreement, Search

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def where() -> Iterator[Site]:
    if os.geteuid():
        pytest.skip("namespaces need root")
    with kernel_path.site() as where:
        yield where


@pytest.mark.parametrize(("has_mac", "remembers", "is_leased"), VARIANTS)
def test_the_program_does_what_the_model_does(where: Site, has_mac: bool, remembers: bool, is_leased: bool) -> None:
    search = Search(where, has_mac, remembers, is_leased, seed=1)
    fates = search.run(2500)
    search.program.close()
    assert min(fates["left alone"], fates["redirected, IPv4"], fates["redirected, IPv6"]) > 250


@pytest.mark.parametrize(
    ("module", "name", "other"),
    (
        (rewriting, "MANGLED_0", 0),  # a checksum that is none, or becomes 0
        (rewriting, "PSEUDO_HEADER", 0),  # what a card has summed up
        (program, "MORE_THAN_DONT_FRAGMENT", 0),
        (program, "_MTU", 8),  # no MTU stands there
    ),
)
def test_another_number_in_the_program_is_found(
    where: Site, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, other: int
) -> None:
    monkeypatch.setattr(module, name, other)
    assert is_found(where)


@pytest.mark.parametrize(
    ("part", "step"),
    (
        (program._Program, "_check_way"),
        (program._Program, "_check_lengths"),
        (program._Program, "_check_lease"),
        (rewriting.Rewriting, "_trim"),
        (rewriting.Rewriting, "_change_sum_6"),
    ),
)
def test_a_step_that_is_missing_is_found(where: Site, monkeypatch: pytest.MonkeyPatch, part: type, step: str) -> None:
    monkeypatch.setattr(part, step, lambda *_: None)
    assert is_found(where)


def is_found(where: Site) -> bool:
    search = Search(where, has_mac=True, remembers=True, is_leased=True, seed=1)
    try:
        search.run(3000)
    except Disagreement:
        return True
    finally:
        search.program.close()
    return False
