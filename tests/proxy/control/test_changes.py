"""What operators end by the control socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.control import rows
from proxy.control.changes import Changes
from proxy.control.errors import Wrong
from proxy.control.gateway import Gateway
from proxy.control.routes import Asked, Peer
from proxy.control.shapes import Row

ROOT = Peer(0, 0, 1)
RINGING: Row = {"id": "1", "helper": "sip", "pinholes": []}
ESTABLISHED: Row = {"id": "2", "helper": "sip", "pinholes": ["ab-p1"]}


class Here:
    """A daemon with these calls."""

    def __init__(self, *calls: Row) -> None:
        self.told: list[str] = []
        self.aborted: list[str] = []
        gateway = SimpleNamespace(
            sessions=SimpleNamespace(switches=SimpleNamespace()),
            calls=lambda: iter(calls),
            pinholes=SimpleNamespace(find=lambda name: SimpleNamespace(abort=lambda _: self.aborted.append(name))),
            log=SimpleNamespace(write=lambda event, about, **_: self.told.append(about)),
            now=0.0,
        )
        self.changes = Changes(cast(Gateway, gateway))

    async def close(self, **query: Any) -> Row:
        return await self.changes.close(Asked({"of": "calls", **query}, ROOT))


@pytest.fixture(autouse=True)
def calls_are_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "of_call", lambda call, _: call)


async def test_a_call_that_rings_keeps_no_other_from_being_closed() -> None:
    here = Here(RINGING, ESTABLISHED)
    assert await here.close(helper="sip") == {"closed": ["2"], "of": "calls"}
    assert (here.aborted, here.told) == (["ab-p1"], ["1 calls: 2"])


@pytest.mark.parametrize("query", [{"id": "1"}, {"helper": "sip"}])
async def test_where_there_is_nothing_else_the_operator_hears_why(query: dict[str, str]) -> None:
    here = Here(RINGING)
    with pytest.raises(Wrong, match="no media here yet"):
        await here.close(**query)
    assert here.told == []
