"""pinhole as the gateway of a lab, between real clients and servers: `python -m tools.demo`, as root.

The gateway drops all that pinhole does not carry. It routes, then hides its clients, then publishes a server; in each
role ordinary clients talk to ordinary servers of every helper: files are transferred, registered phones are called. At
the end: what was transferred and heard, what was rewritten, which pinholes were open, and the audit log that says so.
The exit status is 0 when all of it went well.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from protocols import HELPERS
from tools.demo.demonstrations import DEMONSTRATIONS, NOT_SHOWN, missing
from tools.demo.job import Job
from tools.demo.report import Report, show
from tools.lab import gateways
from tools.lab.gateways import BACKENDS, ROLES, BackendName, Gateway
from tools.peers.baresip import CallFailed
from tools.peers.ftp import TransferFailed


def demonstrate(backend: BackendName, log: Path, console: Console) -> Report:
    """Runs everything, with progress on the console; the audit log goes to a file."""
    left_out = HELPERS.keys() - DEMONSTRATIONS.keys() - NOT_SHOWN
    report = Report({}, [], [f"{name}: nothing to show it with" for name in sorted(left_out)])
    columns = (
        SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="pinhole-demo-files-") as directory,
        Progress(*columns, console=console) as progress,
    ):
        total = len(ROLES) * sum(demonstration.count for demonstration in DEMONSTRATIONS.values())
        task = progress.add_task("", total=total)
        for role in ROLES:
            progress.update(task, description=f"{role.name}: the gateway starts")
            with gateways.serving(role, backend) as gateway:
                for title, job in _jobs(gateway, Path(directory), report):
                    words = f"{role.name}: {job.client} {job.how} {job.server}"
                    progress.update(task, description=words)
                    row = _do(job, gateway, report)
                    report.done.setdefault(title, []).append(row)
                    progress.advance(task)
                    if not console.is_terminal:
                        console.print(f"{words}: {row['result']}", highlight=False)
                _keep(gateway, report, log)
    return report


def _jobs(gateway: Gateway, directory: Path, report: Report) -> Iterator[tuple[str, Job]]:
    """Every job, and the title of its demonstration. A server that does not start is a fault, and ends that
    demonstration alone."""
    for demonstration in DEMONSTRATIONS.values():
        try:
            for job in demonstration.jobs(gateway, directory):
                yield demonstration.title, job
        except (OSError, RuntimeError) as error:
            report.faults.append(f"{gateway.role.name}: {demonstration.helper}: {error}")


def _do(job: Job, gateway: Gateway, report: Report) -> dict[str, Any]:
    row: dict[str, Any] = {
        "gateway": gateway.role.name, "server": job.server, "client": job.client, "how": job.how,
    }  # fmt: skip
    began = time.monotonic()
    try:
        row |= {"result": "ok", **job.run()}
    except (TransferFailed, CallFailed, OSError) as error:
        row["result"] = "FAILED"
        report.faults.append(f"{gateway.role.name}: {job.client} {job.how} {job.server}: {error}")
    row["took_seconds"] = time.monotonic() - began
    return row


def _keep(gateway: Gateway, report: Report, log: Path) -> None:
    """Take over the audit log, and look whether it agrees with what was done."""
    try:
        lines = gateway.log_after(0)
    except TimeoutError as late:  # a call that failed may not have been hung up
        report.faults.append(f"{gateway.role.name}: {late}")
        lines = gateway.daemon.audit()
    gateway.daemon.stop()
    with log.open("a") as kept:
        kept.write(gateway.daemon.log.read_text())
    report.log += [{**line, "gateway": gateway.role.name} for line in lines]
    count = Counter(line["event"] for line in lines)
    for event in ("violation", "pinhole.refused", "engine.failed", "daemon.failed", "session.denied", "session.failed"):
        if count[event]:
            report.faults.append(f"{gateway.role.name}: the audit log has {count[event]} lines of {event}")
    if count["pinhole.opened"] != count["pinhole.closed"]:
        report.faults.append(
            f"{gateway.role.name}: {count['pinhole.opened']} pinholes opened, {count['pinhole.closed']} closed"
        )
    has_nat = gateway.role.hides_client or gateway.role.hides_server
    if bool(count["address.rewritten"]) != has_nat:
        report.faults.append(f"{gateway.role.name}: {count['address.rewritten']} addresses rewritten")


@click.command(help=__doc__)
@click.option("--backend", type=click.Choice(BACKENDS), default="nft", show_default=True, help="Kind of rules.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Where to keep the audit log.")
def main(backend: BackendName, log: Path | None) -> None:
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")
    if absent := missing():
        raise click.ClickException(f"not installed: {absent}; `tools/setup --demo` does that")
    log = log or Path(tempfile.mkdtemp(prefix="pinhole-demo-")) / "audit.log"
    log.write_text("")
    try:
        report = demonstrate(backend, log, Console(stderr=True))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    show(report, log)
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
