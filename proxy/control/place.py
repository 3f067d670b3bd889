"""The file of the control socket: for its owner and its group alone, one daemon at a time, gone when the daemon is."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from proxy.errors import SocketError


def bind(path: str, group: int | None = None, is_for_group: bool = True) -> socket.socket:
    """Make the control socket, for its owner and its group alone. `group` names another group than this process has.
    Not `is_for_group`: everybody may open it, and the server judges who asks (`rights.py`). Raises SocketError when the
    path cannot be used or another daemon answers there."""
    at = Path(path)
    try:
        at.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(at)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # only owner and group may talk to the daemon, from the first instant on
        before = os.umask(0o117 if is_for_group else 0o111)
        try:
            sock.bind(path)
            if group is not None:
                os.chown(path, -1, group, follow_symlinks=False)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(before)
    except OSError as error:
        raise SocketError(
            f"control socket {path}: {error.strerror}; choose another `control:` path or give the daemon's "
            f"user a directory there (systemd: RuntimeDirectory=pinhole)"
        ) from error
    return sock


def remove(path: str) -> None:
    """Remove the control socket's file."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that was killed. A daemon that lives answers, and keeps its socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):  # a link to a socket is refused too, which may belong to another user
        raise SocketError(f"control socket {path}: there is a file that is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(ConnectionRefusedError):
        probe.connect(str(path))
        raise SocketError(f"control socket {path}: another daemon serves there; stop it first")
    path.unlink()
