"""Names of interfaces, by which policies know where a session comes in."""

from __future__ import annotations

import errno
import socket

import pytest

from proxy.sockets.packet_info import INTERFACE_NAME_SECONDS, InterfaceNames


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str | int]:
    """What the kernel answers: a name, or an errno."""
    answers: list[str | int] = []

    def answer(_: int) -> str:
        (now,) = answers
        if isinstance(now, int):
            raise OSError(now, "")
        return now

    monkeypatch.setattr(socket, "if_indextoname", answer)
    return answers


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_with_no_room_to_ask_the_name_of_a_moment_ago_must_do(answers: list[str | int], error: int) -> None:
    """The C library says ENOENT when it has no descriptor to ask by; no policy may take that for another line."""
    names = InterfaceNames()
    answers[:] = ["lan0"]
    assert names.of(3, 0.0) == "lan0"
    answers[:] = [error]
    assert names.of(3, INTERFACE_NAME_SECONDS + 1) == "lan0"
    with pytest.raises(OSError):
        names.of(4, 0.0)


@pytest.mark.parametrize("error", [errno.ENXIO, errno.ENODEV])
def test_an_interface_that_is_gone_has_no_name(answers: list[str | int], error: int) -> None:
    names = InterfaceNames()
    answers[:] = ["lan0"]
    assert names.of(3, 0.0) == "lan0"
    answers[:] = [error]
    assert names.of(3, INTERFACE_NAME_SECONDS + 1) == ""
