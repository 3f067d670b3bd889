"""What the daemon may when it was started as root: it serves as somebody else, and nothing that root's rights are
needed for later is lost: the end of the rules, another configuration, a rotated log, the control socket."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config import reading, whereabouts
from proxy.config.files import unpack
from proxy.daemon import starting
from proxy.errors import PinholeError
from proxy.host import keeper, privileges
from proxy.host.link import Link
from tests.harness.waiting import until
from tests.netns.ftp_talk import Talk, fate, passive_address, server
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab
from tools.lab.daemon import COMMAND, ROOT

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.executed, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept}]"
NONE = "policies: [{name: none, from: [lan0], action: deny}]"
SERVING = sum(1 << number for number in privileges.SERVING)
KEPT = sum(1 << number for number in keeper.KEPT)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("routed") as lab:
        yield lab


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Daemon]:
    """Not started. All its files are root's, in a directory of root's."""
    daemon = Daemon(lab, ALL, "nft", unprivileged=False)
    daemon.directory.chmod(0o700)
    daemon.config.chmod(0o600)
    yield daemon
    if daemon.is_running():
        daemon.stop()
    shutil.rmtree(daemon.directory)


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def capabilities(pid: int) -> dict[str, int]:
    return {key: int(value, 16) for key, value in status_of(pid).items() if key.startswith("Cap")}


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def keeper_of(pid: int) -> int:
    """The process that may change owners. The one that watches the rules is born with all of root's rights as well, and
    soon gives them up."""
    found: list[int] = []

    def is_alone() -> bool:
        found[:] = [child for child in children_of(pid) if capabilities(child)["CapPrm"] >> privileges.CHOWN & 1]
        return len(found) == 1

    until(is_alone, lambda: f"those that may change owners are {found}")
    return found[0]


def serves_as_ordinary_user(pid: int, uid: int = privileges.USUAL_NUMBER) -> None:
    status = status_of(pid)
    assert set(status["Uid"].split()) == {str(uid)}
    assert status["Groups"].strip() == ""
    assert status["NoNewPrivs"] == "1"
    held = capabilities(pid)
    assert {held[key] for key in ("CapPrm", "CapEff", "CapBnd")} == {SERVING}
    assert {held[key] for key in ("CapInh", "CapAmb")} == {0}


def rules_and_routes(lab: Lab) -> str:
    gateway = lab.gateway
    said = [gateway.run(["nft", "list", "tables"]).stdout]
    for version in ("-4", "-6"):
        said.append(gateway.run(["ip", version, "rule", "show", "protocol", "213"]).stdout)
        said.append(gateway.run(["ip", version, "route", "show", "table", "all", "protocol", "213"]).stdout)
    return "".join(said)


def a_download(lab: Lab) -> str:
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        return fate(lab.client, *passive_address(talk.ask("PASV")))


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_started_as_root_it_serves_as_an_ordinary_user_and_takes_the_rules_down(
    lab: Lab, daemon: Daemon, backend: str
) -> None:
    daemon.start("--net", "--backend", backend)
    serves_as_ordinary_user(daemon.pid)
    assert a_download(lab) == "open payload"
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert "pinhole" not in rules_and_routes(lab).lower()
    assert "5353" not in rules_and_routes(lab)
    assert not (daemon.directory / "control.sock").exists()


def test_without_the_rules_it_gives_its_rights_up_as_well(lab: Lab, daemon: Daemon) -> None:
    daemon.net_up()
    daemon.start()
    serves_as_ordinary_user(daemon.pid)
    assert a_download(lab) == "open payload"


def test_the_process_beside_it_has_what_it_needs_and_no_more(lab: Lab, daemon: Daemon) -> None:
    daemon.start("--net")
    beside = keeper_of(daemon.pid)
    assert status_of(beside)["NoNewPrivs"] == "1"
    held = capabilities(beside)
    assert {held[key] for key in ("CapPrm", "CapEff", "CapBnd")} == {KEPT}
    assert not lab.gateway.run(["ss", "-Htunlp"]).stdout.count(f"pid={beside},")
    daemon.stop()
    assert not os.path.exists(f"/proc/{beside}")


def test_the_one_that_attaches_programs_has_two_rights_and_ends_with_it(lab: Lab, daemon: Daemon) -> None:
    daemon.kernel_path = "tcx"
    daemon.write_config(ALL)
    daemon.start("--net")
    wanted = 1 << privileges.BPF | 1 << privileges.NET_ADMIN
    (holder,) = (child for child in children_of(daemon.pid) if capabilities(child)["CapBnd"] == wanted)
    held = capabilities(holder)
    assert (held["CapPrm"], held["CapEff"], held["CapAmb"]) == (wanted, wanted, 0)
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    until(lambda: not os.path.exists(f"/proc/{holder}"))


def test_a_configuration_that_only_root_can_read_is_read_again(lab: Lab, daemon: Daemon) -> None:
    daemon.start("--net")
    daemon.write_config(NONE)
    assert daemon.command("reload", "-c", str(daemon.config)).stdout.startswith("reloaded")
    assert fate(lab.client, str(lab.server.v4), 21) == "reset"
    daemon.write_config("policies: [{name: all, acton: accept}]")
    daemon.signal(signal.SIGHUP)
    assert daemon.wait_for("config.rejected")["problems"][0].startswith(f"{daemon.config}:1:")
    daemon.config.unlink()
    daemon.signal(signal.SIGHUP)
    assert "cannot be read: No such file" in daemon.wait_for("config.rejected", 2)["problems"][0]


def test_a_configuration_that_was_not_there_at_the_start_is_read_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", tmp_path / "pinhole.yaml")
    ours, theirs = socket.socketpair()
    who = privileges.User("nobody", 65534, 65534)
    with ours, theirs:
        beside = starting._keeper(None, reading.default(), who, None, Link(ours, 0))
        with pytest.raises(PinholeError, match="cannot be read: No such file"):
            beside.descriptor("configuration")
        (tmp_path / "pinhole.yaml").write_text(NONE)
        assert reading.in_force(None, lambda _: unpack(beside.descriptor("configuration"))).policies[0].name == "none"
        beside.end("end")


def test_a_log_where_only_root_can_write_is_rotated(lab: Lab, daemon: Daemon) -> None:
    daemon.start("--net")
    rotated = daemon.log.with_suffix(".1")
    daemon.log.rename(rotated)
    daemon.signal(signal.SIGUSR1)
    assert a_download(lab) == "open payload"
    daemon.wait_for("session.closed")
    assert daemon.audit("daemon.started") == []
    assert daemon.log.stat().st_uid == 0
    assert daemon.log.stat().st_mode & 0o777 == 0o640


def test_the_control_socket_is_for_root_and_the_group_of_the_daemon(lab: Lab, daemon: Daemon) -> None:
    daemon.start("--net")
    made = (daemon.directory / "control.sock").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (0, privileges.USUAL_NUMBER, 0o660)
    assert daemon.ask("status")["state"] == "serving"


def test_with_two_groups_everybody_may_open_it_and_the_daemon_judges(lab: Lab, daemon: Daemon) -> None:
    at = f"{daemon.directory}/control.sock"
    named = daemon.config.read_text().replace(f"control: {at}", f"control: {{path: {at}, look: 4711, change: 4712}}")
    daemon.config.write_text(named)
    daemon.directory.chmod(0o755)
    daemon.start("--net")
    assert Path(at).stat().st_mode & 0o777 == 0o666

    def status_for(group: int, method: str, path: str) -> str:
        somebody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--groups", str(group))
        asking = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "--unix-socket", at)
        return str(lab.gateway.run((*somebody, *asking, f"http://pinhole{path}")).stdout)

    said = {group: (status_for(group, "GET", "/v1/status"), status_for(group, "POST", "/v1/reload"))
            for group in (4711, 4712, 4713)}  # fmt: skip
    assert said == {4711: ("200", "403"), 4712: ("200", "200"), 4713: ("403", "403")}
    told = daemon.wait_for("control.changed")
    assert (told["what"], told["uid"]) == ("reload", 65534)
    assert daemon.ask("status")["state"] == "serving"


def test_killed_it_leaves_the_rules_and_says_so(lab: Lab, daemon: Daemon) -> None:
    daemon.start("--net")
    beside = children_of(daemon.pid)
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    # Also the one that watches the rules: the next daemon waits for that two seconds alone.
    until(lambda: not any(os.path.exists(f"/proc/{child}") for child in beside))
    assert "table inet pinhole" in rules_and_routes(lab)
    assert "rules and routes stay" in daemon.stderr.read_text()
    assert not (daemon.directory / "control.sock").exists()
    daemon.start("--net")
    assert a_download(lab) == "open payload"


def test_an_interrupt_from_the_terminal_ends_both_in_order(lab: Lab, daemon: Daemon) -> None:
    daemon.start("--net")
    os.killpg(daemon.pid, signal.SIGINT)
    assert daemon.wait() == 0
    assert "pinhole" not in rules_and_routes(lab)
    assert daemon.audit("daemon.stopped")


def test_the_end_tells_when_the_rules_could_not_be_taken_down(lab: Lab, daemon: Daemon) -> None:
    daemon.start("--net")
    beside = keeper_of(daemon.pid)
    os.kill(beside, signal.SIGKILL)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 1
    assert "has ended" in daemon.stderr.read_text()


def test_the_user_is_the_operators_choice(lab: Lab, daemon: Daemon) -> None:
    daemon.config.write_text(f"{daemon.config.read_text()}user: nobody\n")
    daemon.start("--net")
    serves_as_ordinary_user(daemon.pid, 65534)


def test_where_there_is_only_root_its_capabilities_are_given_up(lab: Lab, daemon: Daemon) -> None:
    daemon.config.write_text(f"{daemon.config.read_text()}user: root\n")
    daemon.start("--net")
    serves_as_ordinary_user(daemon.pid, 0)
    assert a_download(lab) == "open payload"


def test_an_unknown_user_is_an_error_before_any_rule_stands(lab: Lab, daemon: Daemon) -> None:
    daemon.config.write_text(f"{daemon.config.read_text()}user: no-such-user\n")
    with pytest.raises(RuntimeError, match="there is no user 'no-such-user'"):
        daemon.start("--net")
    assert "pinhole" not in rules_and_routes(lab)


def test_a_start_that_fails_takes_the_rules_down(lab: Lab, daemon: Daemon) -> None:
    with lab.gateway.inside():
        taken = socket.create_server(("127.0.0.1", 50000))
    with taken, pytest.raises(RuntimeError, match="is another pinhole running"):
        daemon.start("--net")
    assert "pinhole" not in rules_and_routes(lab)


def test_installed_where_only_root_can_read_it_serves(lab: Lab, tmp_path: Path) -> None:
    """A clone in root's own home directory is what a router has."""
    place = tmp_path / "clone"
    place.mkdir(mode=0o700)
    for name in ("proxy", "protocols"):
        # Other tests may be compiling modules: their files have another name until they are whole, and then go.
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    daemon = Daemon(lab, ALL, "nft", unprivileged=False, tree=place)
    daemon.start("--net")
    # The copy is what runs: the process that reads files for the daemon stays where it was begun.
    assert str(place) in {os.readlink(f"/proc/{pid}/cwd") for pid in (daemon.pid, *children_of(daemon.pid))}
    assert a_download(lab) == "open payload"
    daemon.write_config(NONE)
    assert daemon.command("reload", "-c", str(daemon.config)).stdout.startswith("reloaded")
    assert daemon.ask("sessions") == {"sessions": []}
    assert not daemon.audit("daemon.failed")
    daemon.stop()
    shutil.rmtree(daemon.directory)


def test_to_read_a_wrong_configuration_again_nothing_has_to_be_imported(tmp_path: Path) -> None:
    """Which an ordinary user may not be able to, where pinhole is root's alone."""
    (tmp_path / "right.yaml").write_text(ALL)
    (tmp_path / "wrong.yaml").write_text("policie: []\nports: 0\npolicies: [{name: a, action: acept, snat: 1}]\n")
    program = """if True:
        import sys
        from proxy.daemon import starting
        from proxy.config import reading
        from proxy.errors import ConfigError

        class Nothing:
            def find_spec(self, name, *_):
                raise ModuleNotFoundError(name)

        reading.load(sys.argv[1])
        starting._load_what_comes_late()
        sys.meta_path.insert(0, Nothing())
        try:
            reading.load(sys.argv[2])
        except ConfigError as error:
            print(len(error.problems))
    """
    command = (sys.executable, "-c", program, str(tmp_path / "right.yaml"), str(tmp_path / "wrong.yaml"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "4\n")


def test_whoever_is_not_root_gives_up_what_serving_does_not_need(lab: Lab, daemon: Daemon) -> None:
    daemon.directory.chmod(0o755)
    daemon.config.chmod(0o644)
    shutil.chown(daemon.directory, "nobody")
    daemon.net_up()
    # The last one is for a clone that is root's alone.
    several = "-all,+net_raw,+net_bind_service,+net_admin,+sys_ptrace,+dac_read_search"
    identity = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    with daemon.stderr.open("ab") as stderr:
        command = ("setpriv", *identity, "--inh-caps", several, "--ambient-caps", several, "--bounding-set", several)
        run = (*command, *COMMAND, "run", "-c", str(daemon.config))
        process = lab.gateway.popen(run, cwd=ROOT, stdout=stderr, stderr=stderr)
    daemon.wait_for("daemon.started")
    held = capabilities(process.pid)
    assert (held["CapPrm"], held["CapEff"], held["CapAmb"]) == (SERVING, SERVING, 0)
    assert status_of(process.pid)["NoNewPrivs"] == "1"
    process.terminate()
    assert process.wait(60) == 0


def test_from_a_clone_that_only_root_can_read_it_serves_as_an_ordinary_user_as_well(lab: Lab, tmp_path: Path) -> None:
    """As in root's home. The demo starts it so."""
    tmp_path.chmod(0o700)
    for package in ("proxy", "protocols"):
        (tmp_path / package).symlink_to(ROOT / package)
    daemon = Daemon(lab, ALL, "nft", unprivileged=True, tree=tmp_path)
    daemon.start()
    serves_as_ordinary_user(daemon.pid)
    daemon.stop()
    shutil.rmtree(daemon.directory)


@pytest.mark.parametrize("form", ["json", "console"])
def test_started_with_its_standard_descriptors_closed_no_socket_gets_their_numbers(
    lab: Lab, daemon: Daemon, form: str
) -> None:
    log = f"audit: {{to: stdout, format: {form}}}"
    daemon.config.write_text(f"{ALL}\n{log}\ncontrol: {daemon.directory}/control.sock\n")
    run = (*COMMAND, "run", "--net", "-c", str(daemon.config))
    process = lab.gateway.popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *run], cwd=ROOT)
    until(lambda: (daemon.directory / "control.sock").exists())
    assert a_download(lab) == "open payload"
    assert [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)] == [os.devnull] * 3
    process.terminate()
    assert process.wait(60) == 0
    assert "5353" not in rules_and_routes(lab)


def test_what_keeps_it_from_starting_is_one_line(lab: Lab, daemon: Daemon) -> None:
    daemon.config.write_text(f"{ALL}\naudit: {{to: /nowhere/audit.log}}\ncontrol: {daemon.directory}/control.sock\n")
    with pytest.raises(RuntimeError, match=r"audit log /nowhere/audit\.log: No such file or directory"):
        daemon.start()
    assert len(daemon.stderr.read_text().splitlines()) == 1


def test_told_to_end_before_it_serves_it_takes_the_rules_down(lab: Lab, daemon: Daemon) -> None:
    process = lab.gateway.popen((*COMMAND, "run", "--net", "-c", str(daemon.config)), cwd=ROOT)
    until(lambda: "pinhole" in rules_and_routes(lab))
    process.terminate()
    assert process.wait(60) == 0
    assert "5353" not in rules_and_routes(lab)


def test_told_to_end_while_it_forks_it_takes_the_rules_down(lab: Lab, daemon: Daemon) -> None:
    """What Python itself does after a fork swallows an exit."""
    told = "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))"
    program = f"import os, signal; {told}; from proxy.command.cli import main; main(prog_name='pinhole')"
    process = lab.gateway.popen((sys.executable, "-c", program, "run", "--net", "-c", str(daemon.config)), cwd=ROOT)
    assert process.wait(60) == 0
    assert "5353" not in rules_and_routes(lab)


def test_the_process_beside_it_ends_in_order_when_nobody_fetches_its_answer() -> None:
    deserted_read, deserted_write = os.pipe()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.send(b"wish")
    ours.send(b"wish")
    answered: list[int] = []

    def wish() -> None:
        if answered:
            ours.close()
        answered.append(1)

    with theirs:
        assert keeper._serve(theirs, {"wish": wish}, "end", lambda: os.close(deserted_write)) == 1
    assert os.read(deserted_read, 1) == b""
    os.close(deserted_read)
