"""One end of a case: `python -m tools.bench.case_ends serve|dial HELPER SERVER`.

The client takes orders (orders.py). A server is asked for nothing; it says `ready`, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import Any

import uvloop

from tools.bench.case import Case
from tools.bench.cases import CASES
from tools.bench.orders import READY, take_orders


async def serve(case: Case, server: str) -> None:
    await case.serve(server)
    print(READY, flush=True)
    await asyncio.Event().wait()


class Dialler:
    """What a client can be told to do."""

    def __init__(self, case: Case, server: str) -> None:
        self._case = case
        self._server = server
        self._held: list[object] = []

    def sessions(self, count: int) -> dict[str, Any]:
        """So many sessions, one after the other. Returns how many seconds each took."""
        took = []
        for _ in range(count):
            began = time.perf_counter()
            self._case.session(self._server)
            took.append(time.perf_counter() - began)
        return {"seconds": took}

    def hold(self, count: int) -> dict[str, Any]:
        """So many more sessions that stay open."""
        self._held += (self._case.hold(self._server) for _ in range(count))
        return {}


def dial(case: Case, server: str) -> None:
    take_orders(partial(getattr, Dialler(case, server)))


if __name__ == "__main__":
    _, end, helper, server = sys.argv
    if end == "serve":
        uvloop.run(serve(CASES[helper], server))
    else:
        dial(CASES[helper], server)
