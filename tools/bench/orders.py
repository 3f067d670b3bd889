"""The end of a program on a host that does what it is told: one JSON object a line, `{"do": NAME, ...arguments}`, and
for each an answer, the result or `{"error": text}`. `ways.start_program` and `ways.give_order` are the other end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

READY = "ready"
"""What such a program says first, when it can be told something."""


def take_orders(find: Callable[[str], Callable[..., dict[str, Any]]]) -> None:
    """Do what each line says, until there are no more. `find` gives what a name stands for, which may raise OSError and
    RuntimeError."""
    print(READY, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = find(order.pop("do"))(**order)
        except (OSError, RuntimeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
