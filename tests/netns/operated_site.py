"""A gateway that is operated by its control socket: phones on both sides, servers outside, all helpers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from protocols import HELPERS
from proxy.command import client
from proxy.config.schema import default_table
from tests.netns import media_site
from tools.lab import Lab, pinhole

_CONFIG = """policies:
  - {name: no-files, from: [lan0], helpers: tftp, destination: 198.51.100.3, action: deny}
  - name: one
    from: [lan0]
    snat: interface
    action: accept
    options: {tftp: {open_seconds: TFTP_OPEN}, irc: {dcc: allow}, pmap: {hold: PMAP_HOLD}}
ports: 40000-42999
limits: {pinholes_per_session: 4}
session-helpers:
""" + "".join(
    f"  - {{id: {entry.id}, name: {entry.name}, protocol: {entry.protocol.value}, port: {entry.ports[0]}}}\n"
    for entry in default_table(HELPERS)
)
"""Entries that are off by themselves are on here."""
LINE_OF_POLICY = 3
"""Where policy `one` stands in it."""


def config(tftp_open: float = 3, pmap_hold: float = 1) -> str:
    """tftp_open: for how many seconds a transfer may begin. One that does not is asked about while it still may, for
    which a busy machine needs a while, and is then waited for until it may not any more. pmap_hold: for how many a
    service stands that nobody uses."""
    return _CONFIG.replace("TFTP_OPEN", str(tftp_open)).replace("PMAP_HOLD", str(pmap_hold))


class Here(media_site.Site):
    """Phones on both sides, servers outside, and one policy that lets all of the LAN out."""

    def ask(self, path: str, method: str = "GET", **query: str) -> dict[str, Any]:
        return client.ask(f"{self.daemon.directory}/control.sock", method, path, query)

    def explain(self, **query: str) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = self.ask("v1/explain", **query)["answers"]
        return answers

    def rows(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(f"v1/{name}")[name]
        return found

    def opened(self, purpose: str) -> dict[str, Any]:
        """The newest pinhole for that, once the log has it."""
        row = [row for row in self.rows("pinholes") if row["purpose"] == purpose][-1]
        return self.daemon.wait_for("pinhole.opened", pinhole=row["id"])


@contextlib.contextmanager
def operated() -> Iterator[Here]:
    """Such a gateway, which drops all else."""
    with Lab("routed") as lab, pinhole(lab, config(), unprivileged=True) as daemon:
        daemon.lock_down()
        found = Here(lab, daemon, "S", 4)
        try:
            yield found
        finally:
            found.close()
        found.end()
