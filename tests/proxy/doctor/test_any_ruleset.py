"""No ruleset is too odd to be judged."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.doctor import judging_own
from proxy.doctor.firewall import Firewall
from proxy.host.rules import Backend
from tests.harness.firewalls import CONFIG, RULESETS, filter_table, judge, ours, routes, saved

TEXTS = sorted(RULESETS.glob("*.ip*tables"))
JSON = json.loads((Path(__file__).parent / "ruleset.json").read_text())["nftables"]
"""All nft rulesets of tests/rulesets and some expressions more, as nft 1.0.6 tells them."""
WORDS = sorted({word for path in TEXTS for word in path.read_text().split()})


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a JSON value: its holder and its key there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _nodes(value[key])


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_no_ruleset_of_nft_is_too_odd(random: random.Random, changes: int) -> None:
    objects = json.loads(json.dumps(random.sample(JSON, 60)))
    odd: list[Any] = [
        None,
        True,
        -1,
        1 << 70,
        "",
        "@nobody",
        "lan*",
        [],
        {},
        {"set": "@x"},
        {"prefix": {"addr": "::", "len": 999}},
    ]
    for _ in range(changes):
        places = list(_nodes(objects))
        holder, key = random.choice(places)
        other, name = random.choice(places)
        holder[key] = random.choice([*odd, json.loads(json.dumps(other[name]))])
        if random.random() < 0.2 and isinstance(holder, dict):
            del holder[key]
    judge(Firewall([*ours(CONFIG), *objects]))
    judging_own.judge_own(CONFIG, Firewall(objects), Backend.NFT)


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False), st.integers(1, 12))
def test_no_output_of_iptables_save_is_too_odd(path: Path, random: random.Random, changes: int) -> None:
    lines = path.read_text().splitlines()
    for _ in range(changes):
        at = random.randrange(len(lines))
        words = lines[at].split()
        if words:
            words[random.randrange(len(words))] = random.choice([*WORDS, "!", '"', "-m", "0x", "::/129", ""])
            lines[at] = " ".join(words)
        if random.random() < 0.2:
            lines.insert(at, lines[random.randrange(len(lines))])
    judge(Firewall(ours(CONFIG), (saved("\n".join(lines), 4), saved("\n".join(lines), 6))))


@given(st.text(alphabet=st.characters(max_codepoint=255)), st.text())
def test_any_text_is_judged(text: str, routing: str) -> None:
    judge(Firewall((), (saved(f"*filter\n:INPUT DROP\n-A INPUT {text}\n{text}"),)))
    routes(f"{routing}\n5:\t{routing}")


def test_chains_that_call_each_other_in_circles_or_too_often_are_given_up() -> None:
    """The kernel has no circles, but a ruleset is read while it changes."""
    lines = [f":C{number} - [0:0]" for number in range(40)]
    lines += [f"-A C{number} -j C{(number + step) % 40}" for number in range(40) for step in (0, 1, 1, 1)]
    (found,) = judge(filter_table(":INPUT ACCEPT [0:0]", *lines, "-A INPUT -j C0"))
    assert (found.check, "not all of them were judged" in found.detail) == ("firewall", True)


def test_rules_are_told_in_words() -> None:
    for chain in Firewall(JSON).chains.values():
        for rule in chain.rules:
            assert not re.search(r"[{}'\[]{2}|None", rule.text), rule.text
