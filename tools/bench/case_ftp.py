"""FTP: connect, login, a passive download of 10 KiB, quit; between the programs of `python -m tools.bench ftp`."""

from __future__ import annotations

from tools.bench import server
from tools.bench.case import Case, check
from tools.bench.client import SMALL_BYTES, Control


def session(host: str) -> None:
    control = Control(host)
    control.ask(b"TYPE I\r\n", b"200")
    with control.passive() as data:
        control.ask(b"RETR %d\r\n" % SMALL_BYTES, b"150")
        check(server.receive_bytes(data), SMALL_BYTES)
    control.expect(b"226")
    control.quit()


CASE = Case("ftp", "10 KiB, passive", "tcp", 21, server.begin, session, Control, kernel="ftp")
