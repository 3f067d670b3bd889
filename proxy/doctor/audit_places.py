"""Tries the places that the audit log is written to. Nothing is left there."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from proxy.config.recording import Audit, SinkSettings
from proxy.doctor.findings import Finding, Trouble, fine, trouble
from proxy.record import journal, outlets, syslog

_CHECK = "audit log"


def try_places(audit: Audit) -> Iterator[Finding]:
    """Whether each place takes lines. Standard output is left out: it is another one here than the daemon's."""
    for place in audit.places:
        if place.file is not None:
            yield _file(place.file)
        elif place.to in ("journal", "syslog"):
            yield _collector(place)


def _file(path: str) -> Finding:
    """Whether lines can be appended to the file. Where there is none yet, its directory has to take files."""
    try:
        if os.path.lexists(path):
            os.close(outlets.open_file(path))
        else:
            with tempfile.TemporaryFile(dir=Path(path).parent) as file:
                file.write(b"\n")
    except OSError as error:
        directory = Path(path).parent
        remedy = "# see `audit`" if directory.is_dir() else f"mkdir -p {directory}"
        return trouble(Trouble.AUDIT_NOT_WRITABLE, _CHECK, f"{path} cannot be written: {error.strerror}", remedy)
    return fine(_CHECK, f"{path} can be written")


def _collector(place: SinkSettings) -> Finding:
    """Whether somebody takes lines. Over UDP nobody says so."""
    name = "the journal" if place.to == "journal" else f"syslog, {place.server or syslog.DEV_LOG},"
    try:
        if place.to == "journal":
            syslog.connected(socket.AF_UNIX, socket.SOCK_DGRAM, journal.SOCKET).close()
        else:
            syslog.reach(place.server or syslog.DEV_LOG)
    except OSError as error:
        detail = f"{name} cannot be reached: {error.strerror}; lines wait until it can"
        return trouble(Trouble.AUDIT_NO_COLLECTOR, _CHECK, detail, "# see `audit`, and whether the collector runs")
    return fine(_CHECK, f"{name} can be reached")
