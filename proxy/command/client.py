"""The command line's side of the control socket: one HTTP request over a UNIX socket, one JSON answer.

It is done with the standard library alone, since people run the command in loops and it is to start at once.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from proxy.config import whereabouts
from proxy.errors import PinholeError

_SECONDS = 10.0
"""How long the daemon may keep one waiting. It answers from memory; for a reload it reads one file."""

Query = Mapping[str, str]
"""The parameters of a request. A list is asked for with those of its rows."""


class NobodyAnswers(PinholeError):
    """No daemon is at the control socket."""


class _Connection(http.client.HTTPConnection):
    """HTTP over the UNIX socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("pinhole", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the daemon. Raises PinholeError when none is there, or when one may not."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except PermissionError as error:
            remedy = "run as root or as a member of the daemon's group"
            raise PinholeError(f"not allowed to use the control socket {self._path}: {remedy}") from error
        except OSError as error:
            remedy = "is `pinhole run` active, and with the same configuration (-c)?"
            raise NobodyAnswers(f"no daemon answers at the control socket {self._path}: {remedy}") from error


def ask_daemon(config: str | None, method: str, name: str, query: Query | None = None) -> dict[str, Any]:
    """The answer of the daemon that serves with this configuration file. Raises PinholeError."""
    likely = whereabouts.likely_control(config)
    if likely is not None:
        try:
            return ask(likely, method, name, query)
        except NobodyAnswers:
            if whereabouts.chosen(config) is None:
                raise
    from proxy.config import reading  # it takes longer than all else, and tells what is wrong with the file

    return ask(reading.control_in_force(config), method, name, query)


def ask(path: str, method: str, name: str, query: Query | None = None) -> dict[str, Any]:
    """The answer of the daemon at the control socket `path` to `method /name`. Raises PinholeError."""
    target = f"/{name}?{urlencode(query)}" if query else f"/{name}"
    connection = _Connection(path)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        body = response.read()
    except TimeoutError as error:
        raise PinholeError(f"the daemon at {path} did not answer within {_SECONDS:.0f} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise PinholeError(f"the daemon at {path} broke off: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise PinholeError(f"the daemon at {path} answered {response.status} to {method} /{name}")
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise PinholeError(f"what answers at {path} is not pinhole") from error
    if not isinstance(answer, dict):
        raise PinholeError(f"what answers at {path} is not pinhole")
    return answer
