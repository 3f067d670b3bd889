"""The commands of an operator on a gateway that carries a call and an FTP session: each shows what there is."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.netns.ftp_talk import Talk as Session
from tests.netns.ftp_talk import passive_address, server
from tests.netns.media_site import Site, Talk, both_are_heard, site
from tests.netns.namespaces import needs_root
from tools.lab.daemon import COMMAND, ROOT

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.executed, needs_root]


OPEN_SECONDS = 600


class Busy(NamedTuple):
    """A gateway with a call, and an FTP session whose passive data port waits."""

    place: Site
    waits_at: str

    def said(self, *words: str, status: int = 0) -> str:
        """What a command prints."""
        done = self.place.daemon.command(*words, "-c", str(self.place.daemon.config), check=False)
        assert done.returncode == status, done.stderr + done.stdout
        return done.stdout

    def rows(self, name: str, *words: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.said(name, "--json", *words))[name]
        return rows


@pytest.fixture(scope="module")
def busy() -> Iterator[Busy]:
    # What waits for data is there until the last test has seen it, however slow the machine is.
    with site("S", more=f"timeouts: {{pinhole_open: {OPEN_SECONDS}}}") as place, server(place.lab.server):
        talk: Talk = place.talk()
        both_are_heard(talk)
        with Session(place.lab.client, str(place.lab.server.v4)) as session:
            host, port = passive_address(session.ask("PASV"))
            yield Busy(place, f"{host}:{port}")


def test_calls_say_who_talks_to_whom_and_by_which_pinholes(busy: Busy) -> None:
    (call,) = busy.rows("calls")
    assert (call["state"], call["direction"], len(call["pinholes"])) == ("established", "out", 2)
    heading, first, *_ = busy.said("calls").splitlines()
    assert heading.split() == ["id", "state", "duration", "from", "to"]
    assert first.split()[:2] == [call["id"], "established"]
    detail = busy.said("calls", call["id"])
    assert f"call id    {call['call_id']}" in detail
    assert "rtp" in detail.partition("\n\n")[2] or "audio" in detail.partition("\n\n")[2]


def test_sessions_are_found_by_filters(busy: Busy) -> None:
    client = str(busy.place.lab.client.v4)
    assert {row["helper"] for row in busy.rows("sessions", "--client", client)} == {"ftp", "sip"}
    (ftp,) = busy.rows("sessions", "--helper", "ftp", "--server", f"{busy.place.lab.server.v4}:21")
    assert [row["helper"] for row in busy.rows("sessions", "--helper", "!ftp")] == ["sip"]
    assert busy.rows("sessions", "--older", "1d") == []
    assert busy.waits_at in busy.said("sessions", ftp["session"])


def test_a_pinhole_that_waits_says_where_and_how_long(busy: Busy) -> None:
    (waiting,) = busy.rows("pinholes", "--helper", "ftp")
    assert (waiting["listen"], waiting["state"]) == (busy.waits_at, "waiting")
    assert 0 < waiting["expires_seconds"] <= OPEN_SECONDS
    assert f"listen       {busy.waits_at}" in busy.said("pinholes", str(waiting["pinhole"]))


def test_explain_tells_why_it_is_open_by_its_number_and_by_its_address(busy: Busy) -> None:
    (waiting,) = busy.rows("pinholes", "--helper", "ftp")
    text = busy.said("explain", busy.waits_at)
    assert text == busy.said("explain", str(waiting["pinhole"])) or text.startswith("open since ")
    assert f"in session {waiting['session']}" in " ".join(text.split())
    assert "policy one" in text


def test_explain_says_which_line_would_let_a_stranger_in(busy: Busy) -> None:
    stranger, wanted = "10.99.0.1:40000", f"{busy.place.lab.server.v4}:21"
    text = busy.said("explain", wanted, "--client", stranger, "--interface", "dmz7", "--transport", "tcp")
    assert "refused" in text
    assert "action: accept}" in text.partition("The line of configuration:")[2]


def test_status_is_well_and_says_no_limit_is_near(busy: Busy) -> None:
    lines = busy.said("status").splitlines()
    assert lines[0].split() == ["state", "serving"]
    assert not any(line.startswith("near") for line in lines)


def test_top_puts_the_call_whose_packets_pass_first(busy: Busy) -> None:
    first, _, heading, *rows = busy.said("top", "--once", "--seconds", "0.2").splitlines()
    assert first.startswith("serving, 2 sessions, 3 pinholes, 1 calls (sip)")
    assert (heading.split()[0], len(rows)) == ("rate", 2)


def test_limits_and_policies_are_listed(busy: Busy) -> None:
    assert [row["policy"] for row in busy.rows("policies")] == ["one"]
    assert next(row for row in busy.rows("limits") if row["limit"] == "pinholes")["used"] == 3


@contextlib.contextmanager
def followed(busy: Busy, is_last: Callable[[dict[str, Any]], bool], *words: str) -> Iterator[list[dict[str, Any]]]:
    """What `pinhole events` or `trace` shows meanwhile, and then until the last one comes; known at the end."""
    command = (*COMMAND, *words, "--json", "-c", str(busy.place.daemon.config))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = busy.place.lab.gateway.popen(command, cwd=ROOT, text=True, **pipes)
    shown: list[dict[str, Any]] = []
    assert process.stderr is not None and process.stdout is not None
    assert process.stderr.readline() == "(^C ends it)\n"
    yield shown
    while not shown or not is_last(shown[-1]):
        shown.append(json.loads(process.stdout.readline()))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def went_on(text: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a message with this text goes on."""
    return lambda row: row["step"] == "went" and text in row["text"]


def test_events_shows_the_lines_that_filters_let_through_as_the_log_has_them(busy: Busy) -> None:
    place = busy.place
    with followed(busy, lambda row: row["event"] == "call.ended", "events", "-f", "--event", "call.*") as shown:
        talk = place.talk()
        talk.hang_up()
    assert [row["event"] for row in shown] == ["call.started", "call.ended"]
    logged = place.daemon.wait_for("call.ended", call_id=shown[-1]["call_id"])
    assert shown[-1] == logged


def test_a_helper_is_off_for_a_client_until_it_is_on_again(busy: Busy) -> None:
    client = str(busy.place.lab.client.v4)
    assert busy.said("helper", "off", "tftp", "--client", client, "--for", "10m") == (
        f"tftp off, clients: {client}, for 10m00s\n"
    )
    assert f"switches             tftp off, clients: {client}" in busy.said("status")
    assert busy.said("helper", "list").splitlines()[-1].split()[:3] == ["tftp", "off", client]
    busy.said("helper", "on", "tftp", "--client", client)
    assert busy.said("helper", "list").splitlines()[-1] == "no switch is thrown"
    busy.place.daemon.wait_for("control.changed", what="unswitch")
    told = busy.place.daemon.audit("control.changed")
    assert [line["what"] for line in told if "tftp" in line["about"]] == ["switch", "unswitch"]


def test_trace_shows_a_call_before_and_after_and_nobody_elses_messages(busy: Busy) -> None:
    place = busy.place
    words = "trace", "--helper", "sip", "--client", str(place.lab.client.v4)
    with followed(busy, went_on("BYE\r\n"), *words) as shown:
        place.talk().hang_up()
    invite, sent_on, *_ = (row for row in shown if row["text"].startswith("INVITE"))
    assert (invite["step"], sent_on["step"]) == ("came", "went")
    assert f"c=IN IP4 {place.lab.client.v4}" in invite["text"]
    assert f"c=IN IP4 {place.lab.gateway.address(4, 'wan0')}" in sent_on["text"]
    assert {row["helper"] for row in shown} == {"sip"}


def test_trace_shows_no_password(busy: Busy) -> None:
    place = busy.place
    client, server = place.lab.client, str(place.lab.server.v4)
    shows = followed(busy, went_on("PASS (removed)"), "trace", "--helper", "ftp")
    with shows as shown, Session(client, server) as session:
        session.ask("PASS very secret")
    texts = [row["text"] for row in shown if row["step"] == "came"]
    assert {"USER u\r\n", "PASS (removed)\r\n"} <= set(texts)
    assert "secret" not in "".join(row["text"] for row in shown)


def test_started_on_a_terminal_the_daemon_says_so_in_words(busy: Busy, tmp_path: Path) -> None:
    config = tmp_path / "pinhole.yaml"
    config.write_text(f"policies: [{{name: all, action: accept}}]\ncontrol: {tmp_path}/control.sock\n")
    ours, theirs = pty.openpty()
    host = busy.place.lab.server
    process = host.popen((*COMMAND, "run", "-c", str(config)), cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = ""
    with contextlib.suppress(OSError):  # the terminal is gone with the last process that has it
        while text := os.read(ours, 65536).decode():
            had_begun, said = "daemon.started" in said, said + text
            if "daemon.started" in said and not had_begun:
                process.terminate()
    os.close(ours)
    assert process.wait(20) == 0, said
    started = next(line for line in said.splitlines() if "daemon.started" in line)
    assert re.match(r"\x1b\[1m\d{4}-\d\d-\d\dT[\d:.]+Z  daemon\.started ", started)
    assert "{" not in started


def test_close_ends_one_by_its_id_and_says_so(busy: Busy) -> None:
    place = busy.place
    with Session(place.lab.client, str(place.lab.server.v4)) as session:
        newest = max(busy.rows("sessions", "--helper", "ftp"), key=lambda row: -row["age_seconds"])["session"]
        assert busy.said("close", newest) == f"closed 1 sessions: {newest}\n"
        assert session.end() in ("closed", "reset")
    assert newest not in {row["session"] for row in busy.rows("sessions")}
    told = place.daemon.wait_for("control.changed", what="close")
    assert (told["uid"], newest in told["about"]) == (0, True)
