"""The command line's side of the control socket: one HTTP request over a UNIX socket, one JSON answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from proxy.errors import PinholeError

_SECONDS = 10.0
"""How long an answer may take. The daemon answers from memory; for a reload it reads one file."""


def ask(path: str, method: str, name: str) -> dict[str, Any]:
    """The answer of the daemon at the control socket `path` to `method /name`. Raises PinholeError."""
    return asyncio.run(_ask(path, method, name))


async def _ask(path: str, method: str, name: str) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), timeout=timeout) as session,
            session.request(method, f"http://pinhole/{name}") as response,
        ):
            body = await response.read()
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, PermissionError):
            remedy = "run as root or as a member of the daemon's group"
            raise PinholeError(f"not allowed to use the control socket {path}: {remedy}") from error
        remedy = "is `pinhole run` active, and with the same configuration (-c)?"
        raise PinholeError(f"no daemon answers at the control socket {path}: {remedy}") from error
    except TimeoutError as error:
        raise PinholeError(f"the daemon at {path} did not answer within {_SECONDS:.0f} s") from error
    except aiohttp.ClientError as error:
        raise PinholeError(f"the daemon at {path} broke off: {error}") from error
    if response.status != 200:
        raise PinholeError(f"the daemon at {path} answered {response.status} to {method} /{name}")
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise PinholeError(f"what answers at {path} is not pinhole") from error
    if not isinstance(answer, dict):
        raise PinholeError(f"what answers at {path} is not pinhole")
    return answer
