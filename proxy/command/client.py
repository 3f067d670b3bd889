"""The command line's side of the control socket: one HTTP request over a UNIX socket, one JSON answer.

It is done with the standard library alone, since people run the command in loops and it is to start at once.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from proxy.config import whereabouts
from proxy.errors import PinholeError

LOOK_SECONDS, CHANGE_SECONDS = 10.0, 120.0
"""How long the daemon may keep one waiting. It answers from memory; for a reload it reads files, which may have
thousands of policies, and waits for the guard to set up rules."""

_LIST = re.compile(r"GET /v1/(sessions|pinholes|calls|registrations|switches|explain)")

Answer = TypeVar("Answer")
Query = Mapping[str, str]
"""The parameters of a request. A list is asked for with those of its rows."""


class NobodyAnswers(PinholeError):
    """No daemon is at the control socket."""


class _Connection(http.client.HTTPConnection):
    """HTTP over the UNIX socket at `path`."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("pinhole")
        self._path = path
        self._seconds = seconds

    def connect(self) -> None:
        """Connect to the daemon. Raises PinholeError when none is there, or when one may not."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Many others may wait there. The kernel lets one wait behind them who has no timeout of Python's yet.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._seconds))
        try:
            self.sock.connect(self._path)
            self.sock.settimeout(self._seconds)
        except BlockingIOError as error:
            raise TimeoutError from error
        except PermissionError as error:
            remedy = "run as root or as a member of the daemon's group"
            raise PinholeError(f"not allowed to use the control socket {self._path}: {remedy}") from error
        except OSError as error:
            remedy = "is `pinhole run` active, and with the same configuration (-c)?"
            raise NobodyAnswers(f"no daemon answers at the control socket {self._path}: {remedy}") from error


def _timeval(seconds: float) -> bytes:
    """A time as `struct timeval`."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))


@dataclass(frozen=True, slots=True)
class Request:
    """What the daemon is asked."""

    method: str
    path: str
    query: Query | None = None

    @property
    def seconds(self) -> float:
        """How long its answer may take."""
        return LOOK_SECONDS if self.method == "GET" else CHANGE_SECONDS

    @property
    def target(self) -> str:
        """Path and query, as the first line of the request has them."""
        path = quote(self.path)
        return f"/{path}?{urlencode(self.query)}" if self.query else f"/{path}"


def ask_daemon(config: str | None, method: str, path: str, query: Query | None = None) -> dict[str, Any]:
    """The answer of the daemon that serves with this configuration file. Raises PinholeError."""
    request = Request(method, path, query)
    return _reached(config, lambda control: _answer(control, request))


def looked_at(config: str | None) -> str | None:
    """The file by which this host is looked at: the one that is named, else the system's, else that of the daemon that
    runs. None: the built-in configuration."""
    if (file := whereabouts.chosen(config)) is not None:
        return file
    try:
        served = str(ask(whereabouts.CONTROL, "GET", "v1/status").get("config", ""))
    except PinholeError:
        return None
    # An older daemon names its file as it was typed, in a directory that nobody here knows.
    return served if os.path.isabs(served) and os.path.isfile(served) else None


def follow(config: str | None, path: str, query: Query | None = None) -> Iterator[tuple[str, str]]:
    """The name and the data of each event that the daemon sends, until it ends. Raises PinholeError."""
    request = Request("GET", path, query)
    at, response = _reached(config, lambda control: (control, _open(control, request)))
    with response, _explained(at, request):
        name = ""
        while line := response.readline():
            key, _, value = line.decode().rstrip("\r\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                yield name, value


def ask(control: str, method: str, path: str, query: Query | None = None) -> dict[str, Any]:
    """The answer of the daemon at that control socket. Raises PinholeError."""
    return _answer(control, Request(method, path, query))


def _reached(config: str | None, ask: Callable[[str], Answer]) -> Answer:
    """Ask at the control socket of this configuration."""
    likely = whereabouts.likely_control(config)
    if likely is not None:
        try:
            return ask(likely)
        except NobodyAnswers:
            if whereabouts.chosen(config) is None:
                raise
    from proxy.config import reading  # it takes longer than all else, and tells what is wrong with the file

    return ask(reading.control_in_force(config).path)


def _answer(control: str, request: Request) -> dict[str, Any]:
    """The answer, which is one object."""
    with _open(control, request) as response, _explained(control, request):
        return _object(control, response.read())


def _open(control: str, request: Request) -> http.client.HTTPResponse:
    """The answer, of which the beginning has come. Raises PinholeError when it is a refusal."""
    with _explained(control, request), contextlib.closing(_Connection(control, request.seconds)) as connection:
        connection.request(request.method, request.target, headers={"Connection": "close"})
        assert connection.sock is not None
        sock = connection.sock
        response = connection.getresponse()
        if response.status != 200:
            answered = f"answered {response.status} to {request.method} /{request.path}"
            raise PinholeError(_refusal(response.read()) or f"the daemon at {control} {answered}: is it an older one?")
        if response.headers.get_content_type() == "text/event-stream":
            sock.settimeout(None)  # nothing may happen for a long time
        return response  # it reads on, though the connection is closed for further requests


def _refusal(body: bytes) -> str:
    """Why the daemon does not do what it was asked, in its own words. Empty: it does not say."""
    try:
        error = json.loads(body)["error"]
        return f"{error['message']}: {_as_commands(error['remedy'])}" if error["remedy"] else str(error["message"])
    except (ValueError, LookupError, TypeError):
        return ""


def _as_commands(remedy: str) -> str:
    """A remedy that names a list by its path, with the command that shows the list instead."""
    return _LIST.sub(lambda found: f"`pinhole {'helper list' if found[1] == 'switches' else found[1]}`", remedy)


def _object(control: str, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise PinholeError(f"what answers at {control} is not pinhole")
    return answer


@contextlib.contextmanager
def _explained(control: str, request: Request) -> Iterator[None]:
    """Say in words what went wrong on the way to the daemon and back."""
    try:
        yield
    except TimeoutError as error:
        remedy = "it may have no descriptor left (`listener.overloaded` in its audit log), or many who ask"
        raise PinholeError(
            f"the daemon at {control} did not answer within {request.seconds:.0f} s: {remedy}"
        ) from error
    except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected) as error:
        raise PinholeError(f"the daemon at {control} broke off: it may have ended") from error
    except (OSError, http.client.HTTPException) as error:
        raise PinholeError(f"the daemon at {control} broke off: {error or type(error).__name__}") from error
