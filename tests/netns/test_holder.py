"""The holder on a real kernel: what it attaches where, whom it serves, what is left when something dies."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from proxy.ebpf import program, syscall
from proxy.ebpf.tables import Rows, Tables, make_tables
from proxy.errors import PinholeError
from proxy.holder import holding, process, watching
from proxy.holder import links as links_of
from proxy.holder.client import Client
from proxy.holder.holding import Settings
from proxy.holder.links import Order
from proxy.holder.process import Child
from proxy.holder.wire import Off
from proxy.host import privileges
from proxy.host.rules_routing import ROUTE_PROTOCOL
from tests.harness.shell import descriptors
from tests.harness.waiting import until
from tests.netns.holder_site import NOBODY, ROWS, ClientProcess, Place, kill, place
from tests.netns.namespaces import needs_root
from tools.lab.daemon import COMMAND, ROOT
from tools.lab.host import START_SECONDS

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

REFUSED, IPSEC, MARKS = (f"OFF {int(why)}" for why in (Off.REFUSED, Off.IPSEC, Off.MARKS))


@pytest.fixture(scope="module")
def standing() -> Iterator[Place]:
    """A host with two interfaces, for all tests of this module; each leaves them as they were."""
    with place() as made:
        made.add("lan0", "type", "veth", "peer", "name", "wan0")
        yield made


@pytest.fixture
def host(standing: Place) -> Iterator[Place]:
    yield standing
    standing.clean()


@pytest.fixture(params=["tcx", "clsact"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "clsact":
        monkeypatch.setenv(process.WAY, "clsact")
    return str(request.param)


def links(host: Place, *names: str) -> list[str]:
    return [f"LINK {host.index(name)}" for name in names]


def tables(way: str) -> str:
    return f"TABLES {int(way == 'clsact')}"


def let_in(host: Place, way: str = "tcx", *names: str) -> ClientProcess:
    client = host.client()
    client.hears(tables(way), *links(host, *(names or ("lan0", "wan0"))))
    return client


def line_of(capfd: pytest.CaptureFixture[str]) -> str:
    """What a holder says, once it is a line: a client may have been told, or hung up on, a moment before."""
    said = ""

    def is_said() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return said.endswith("\n")

    until(is_said)
    return said


def is_bare(host: Place, name: str) -> bool:
    return host.attached(name) == 0 and "clsact" not in host.filters(name)


# -- what it attaches where --------------------------------------------------------------------------------------------


def test_a_client_gets_tables_and_has_the_program_at_every_interface(host: Place, way: str) -> None:
    host.holder()
    client = let_in(host, way)
    assert (host.attached("lan0"), host.attached("wan0")) == (1, 1)
    assert host.attached("lo") == 0
    assert (len(host.programs("lan0")) == 1) == (way == "tcx")
    client.kill()
    until(lambda: is_bare(host, "lan0") and is_bare(host, "wan0"))


def test_interfaces_come_and_go(host: Place, way: str) -> None:
    """As those of PPPoE do, whenever the line breaks."""
    host.holder()
    client = let_in(host, way)
    for name, made in (
        ("t0", ("tuntap", "add", "t0", "mode", "tun")),
        ("br0", ("link", "add", "br0", "type", "bridge")),
    ):
        host.ip(*made)
        index = host.index(name)
        client.hears(f"LINK {index}")
        assert host.attached(name) == 1
        host.ip("link", "del", name)
        client.hears(f"GONE {index}")


def test_ports_of_a_bridge_are_left_out(host: Place, way: str) -> None:
    host.holder()
    client = let_in(host, way)
    bridge = host.add("br0", "type", "bridge")
    client.hears(f"LINK {bridge}")
    host.ip("link", "set", "lan0", "master", "br0")
    client.hears(f"GONE {host.index('lan0')}")
    until(lambda: host.attached("lan0") == 0)
    host.ip("link", "set", "lan0", "nomaster")
    client.hears(f"LINK {host.index('lan0')}")
    host.ip("link", "del", "br0")
    client.hears(f"GONE {bridge}")


def test_only_the_interfaces_that_are_named_are_taken(host: Place) -> None:
    host.holder(Settings(NOBODY, ROWS, frozenset({"lan0", "ppp0"})))
    client = let_in(host, "tcx", "lan0")
    assert host.attached("wan0") == 0
    host.ip("link", "set", "wan0", "name", "ppp0")
    client.hears(f"LINK {host.index('ppp0')}")
    host.ip("link", "set", "ppp0", "name", "wan0")
    client.hears(f"GONE {host.index('wan0')}")


def test_interfaces_are_told_apart_by_whether_packets_have_an_ethernet_header(host: Place) -> None:
    host.ip("tuntap", "add", "t0", "mode", "tun")
    with host.host.inside():
        found = watching.interfaces()
    assert {one.name: one.has_mac for one in found.values()} == {"lan0": True, "wan0": True, "t0": False}
    host.ip("link", "del", "t0")


@pytest.mark.parametrize("order", list(Order))
def test_it_goes_before_or_behind_the_programs_of_others(host: Place, order: Order) -> None:
    host.holder(order=order)
    with host.host.inside():
        of_others = make_tables(1)
        other = syscall.link(program.load(of_others, True, False), host.index("lan0"))
    (theirs,) = host.programs("lan0")
    let_in(host)
    assert host.programs("lan0").index(theirs) == (1 if order is Order.FIRST else 0)
    os.close(other)


def test_two_daemons_stand_beside_each_other_during_an_upgrade(host: Place, way: str) -> None:
    host.holder()
    before, after = let_in(host, way), let_in(host, way)
    assert host.attached("lan0") == 2
    before.kill()
    until(lambda: host.attached("lan0") == 1)
    assert after.is_silent(0.1)
    after.kill()
    until(lambda: is_bare(host, "lan0"))


def test_an_interface_has_room_for_the_programs_of_others_whatever_a_daemon_keeps(
    host: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that somebody has taken over could keep its links, and come again for more."""
    host.holder()
    with host.host.inside():
        kept = make_tables(1)
        programs = [program.load(kept, True, False) for _ in range(links_of.MOST_PROGRAMS)]
        held = [syscall.link(one, host.index("lan0")) for one in programs]
    client = let_in(host, "tcx", "wan0")
    assert line_of(capfd) == (
        "pinhole: media that comes by lan0 does not pass in the kernel: 16 programs are attached there already\n"
    )
    client.kill()
    assert host.attached("lan0") == links_of.MOST_PROGRAMS
    assert capfd.readouterr().err == ""
    for descriptor in (*held, *programs, *kept):
        os.close(descriptor)


# -- guards ------------------------------------------------------------------------------------------------------------

POLICY = ("xfrm", "policy", "add", "src", "10.0.0.0/8", "dst", "10.1.0.0/16", "dir", "out", "action", "block")


@pytest.mark.parametrize(
    ("make", "undo", "why"),
    [
        (POLICY, ("xfrm", "policy", "flush"), IPSEC),
        (("xfrm", "policy", "setdefault", "in", "block"), ("xfrm", "policy", "setdefault", "in", "accept"), IPSEC),
        (("rule", "add", "fwmark", "5", "lookup", "100"), ("rule", "del", "fwmark", "5", "lookup", "100"), MARKS),
        (
            ("-6", "rule", "add", "fwmark", "0/8", "lookup", "9"),
            ("-6", "rule", "del", "fwmark", "0/8", "lookup", "9"),
            MARKS,
        ),
    ],
    ids=["policy", "blocked by default", "mark", "mark of IPv6"],
)
def test_what_the_program_cannot_know_of_turns_it_off(
    host: Place, way: str, make: tuple[str, ...], undo: tuple[str, ...], why: str
) -> None:
    host.holder()
    client = let_in(host, way)
    host.ip(*make)
    client.hears(why)
    until(lambda: is_bare(host, "lan0"))
    late = host.client()
    late.hears(why)
    host.ip(*undo)
    for one in (client, late):
        one.hears(tables(way), *links(host, "lan0", "wan0"))
        one.kill()


def test_our_own_routing_rules_turn_nothing_off(host: Place) -> None:
    ours = ("fwmark", "0x1000000/0x1000000", "lookup", "5353", "protocol", str(ROUTE_PROTOCOL))
    host.ip("rule", "add", *ours)
    holder = host.holder()
    let_in(host).kill()
    host.end(holder)
    host.ip("rule", "del", *ours)


def test_who_requires_it_has_it_beside_routing_rules_by_mark(host: Place) -> None:
    host.ip("rule", "add", "fwmark", "5", "lookup", "100")
    holder = host.holder(Settings(NOBODY, ROWS, heeds_marks=False))
    let_in(host).kill()
    host.end(holder)
    host.ip("rule", "del", "fwmark", "5", "lookup", "100")


# -- who is served, and with which rights ------------------------------------------------------------------------------


def test_it_has_two_capabilities_and_no_way_to_others(host: Place) -> None:
    holder = host.holder()
    let_in(host).kill()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{holder.pid}/status").read_text().splitlines())
    wanted = 1 << privileges.BPF | 1 << privileges.NET_ADMIN
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {wanted}
    assert {int(status[name], 16) for name in ("CapInh", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"


def test_other_users_are_refused_and_told_of(host: Place, capfd: pytest.CaptureFixture[str]) -> None:
    host.holder()
    stranger = host.client(user=NOBODY - 1)
    stranger.hears("lost")
    assert host.attached("lan0") == 0
    assert f"user {NOBODY - 1} has asked for the kernel path" in line_of(capfd)
    stranger.kill()
    let_in(host).kill()


def test_it_reads_nothing_that_a_client_sends(host: Place) -> None:
    def send(client: ClientProcess) -> None:
        try:
            client.sock.send(b"T" * 8)
            client.tell("sent")
        except BrokenPipeError:
            client.tell("refused")

    host.holder(Settings(NOBODY, ROWS, frozenset({"lan0"})))
    client = host.client(send)
    client.hears(tables("tcx"), *links(host, "lan0"), "refused")


def test_a_client_that_comes_again_and_again_waits_for_its_turn(host: Place) -> None:
    """Each time costs tables."""
    host.holder()
    clients = [let_in(host) for _ in range(holding.MOST_CLIENTS)]
    one_more = host.client()
    one_more.hears("lost")
    for client in (*clients, one_more):
        client.kill()
    until(lambda: is_bare(host, "lan0"))
    let_in(host).kill()


MAY_NOT = ("table", "program", "program of the link", "program by number", "link by number", "table by number")


def test_an_ordinary_user_with_the_descriptors_writes_rows_and_can_do_nothing_else(host: Place) -> None:
    host.holder(Settings(NOBODY, ROWS, frozenset({"lan0"})))
    client = host.client(tries_everything)
    client.hears(tables("tcx"), *links(host, "lan0"), "row", "counts (0, 0)", "detached", "link: EINVAL",
                 *(f"{what}: EPERM" for what in MAY_NOT))  # fmt: skip
    assert host.attached("lan0") == 0


def tries_everything(client: ClientProcess) -> None:
    """In the client's process, which has no capability."""
    (link,) = (found for word, (found, *_) in client.descriptors.items() if word.startswith("LINK"))
    given = Tables(*client.descriptors[tables("tcx")])
    rows = Rows(given)
    row = rows.put(("10.1.0.2", 5000), ("10.1.0.1", 6000), ("192.0.2.1", 7000), ("192.0.2.2", 8000), 0)
    assert row is not None
    rows.keep()
    client.tell("row")
    client.tell(f"counts {row.take_back()}")
    index = int(next(word for word in client.descriptors if word.startswith("LINK")).split()[1])
    attempts: dict[str, Callable[[], object]] = {
        "table": lambda: make_tables(1),
        "program": lambda: program.load(given, True),
        "program of the link": lambda: by_number(PROG_GET_FD_BY_ID, number_of_program(link)),
        "program by number": lambda: by_number(PROG_GET_FD_BY_ID, 1),
        "link by number": lambda: by_number(LINK_GET_FD_BY_ID, 1),
        "table by number": lambda: by_number(MAP_GET_FD_BY_ID, 1),
        "link": lambda: syscall.link(link, index),  # it has no program that it could attach elsewhere
    }
    for what, attempt in attempts.items():
        try:
            attempt()
            client.tell(f"{what}: done")
        except OSError as error:
            client.tell(f"{what}: {errno.errorcode[error.errno or 0]}")
    syscall._bpf(LINK_DETACH, syscall._Element(map=link), "to detach")
    client.tell("detached")


PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID, LINK_GET_FD_BY_ID, LINK_DETACH = 13, 14, 30, 34


def by_number(command: int, number: int) -> None:
    syscall._bpf(command, syscall._Element(map=number), "to have a descriptor")


def number_of_program(link: int) -> int:
    info = (ctypes.c_uint32 * 16)()
    asked = syscall._Info(link, ctypes.sizeof(info), ctypes.addressof(info))
    syscall._bpf(syscall._INFO, asked, "to ask about a link")
    return int(info[2])


# -- by tcx or by clsact -----------------------------------------------------------------------------------------------

PROG_QUERY, LINK_CREATE = 16, 28


def test_the_way_is_the_one_that_this_kernel_has(host: Place) -> None:
    """Debian 12's is tried by `tools/older-kernel`."""
    major, minor = map(int, os.uname().release.split(".")[:2])
    before = descriptors()
    with host.host.inside():
        found = process.chosen(Order.LAST, "", pytest.fail)
    assert isinstance(found, links_of.Tcx if (major, minor) >= (6, 6) else links_of.Clsact)
    assert descriptors() == before and host.attached("lo") == 0


def test_a_kernel_that_knows_nothing_of_tcx_has_filters_which_nobody_had_to_ask_for(host: Place) -> None:
    """What Debian 12's answers to the question for programs, and to a link, is EINVAL."""
    holder = masked(host.holder, errno.EINVAL, (PROG_QUERY, LINK_CREATE))
    client = let_in(host, "clsact")
    assert host.programs("lan0") == [] and "direct-action" in host.filters("lan0")
    client.kill()
    until(lambda: is_bare(host, "lan0") and is_bare(host, "wan0"))
    host.end(holder)


@pytest.mark.parametrize("code", (errno.EPERM, errno.ENOSPC, errno.ENOMEM, errno.ENODEV))
def test_a_kernel_that_has_tcx_keeps_it_although_the_trial_has_failed(
    host: Place, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As where others have taken all the room at the interface of the trial. Filters would stay when all die."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    before = descriptors()
    for answers in ({"programs": fail}, {"programs": lambda _: [], "link": fail}):
        with host.host.inside(), monkeypatch.context() as kernel:
            for asked, answer in answers.items():
                kernel.setattr(syscall, asked, answer)
            assert isinstance(process.chosen(Order.LAST, "", pytest.fail), links_of.Tcx)
    assert descriptors() == before


# -- a kernel that takes no program ------------------------------------------------------------------------------------


def test_where_the_kernel_takes_no_program_one_line_says_so_and_clients_are_told(
    host: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    with host.host.inside():
        masked(host.holder, errno.ENOSYS)
        client = host.client()
    client.hears(REFUSED)
    again = host.client()
    again.hears(REFUSED)
    assert capfd.readouterr().err == (
        "pinhole: no media passes in the kernel, which refuses the program: "
        "bpf(2), to make the table pinhole_v4_1: Function not implemented\n"
    )
    for one in (client, again):
        assert one.is_silent(0.1)
        one.kill()


def masked(work: Callable[[], Child], code: int, commands: Sequence[int] = range(64)) -> Child:
    """Do it so that these commands of bpf(2), or all, fail for the holder with this error. Its filter of seccomp is set
    when it gives its rights up."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mask() -> None:
        load, equal, answer, count = 0x20, 0x15, 0x06, len(commands)
        filters = [(load, 0, 0, NUMBER), (equal, 0, count + 1, syscall._NUMBER), (load, 0, 0, FIRST_ARGUMENT)]
        filters += [(equal, count - at, 0, command) for at, command in enumerate(commands)]
        filters += [(answer, 0, 0, ALLOW), (answer, 0, 0, ERRNO | code)]
        packed = b"".join(struct.pack("=HBBI", *one) for one in filters)
        kept = ctypes.create_string_buffer(packed, len(packed))
        program = struct.pack("@HP", len(filters), ctypes.addressof(kept))
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, program, 0, 0) == 0

    keep = privileges.keep

    def keep_and_mask(wanted: frozenset[int]) -> None:
        keep(wanted)
        mask()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(privileges, "keep", keep_and_mask)
        return work()


NUMBER, FIRST_ARGUMENT = 0, 16
"""Where struct seccomp_data has them."""
ERRNO, ALLOW = 0x00050000, 0x7FFF0000


# -- what is left when something dies ----------------------------------------------------------------------------------


def test_without_the_holder_what_is_attached_stays(host: Place, way: str) -> None:
    holder = host.holder()
    client = let_in(host, way)
    kill(holder)
    client.hears("lost")
    assert host.attached("lan0") == 1
    client.kill()
    until(lambda: host.attached("lan0") == (way == "clsact"))
    # Whoever comes next removes what nobody else would.
    holder = host.holder()
    client = let_in(host, way)
    assert host.attached("lan0") == 1
    client.kill()
    until(lambda: is_bare(host, "lan0"))


def test_when_both_are_killed_at_once_nothing_is_left_but_a_filter_that_the_next_holder_removes(
    host: Place, way: str
) -> None:
    holder = host.holder()
    client = let_in(host, way)
    os.kill(client.pid, signal.SIGSTOP)
    kill(holder)
    client.kill()
    until(lambda: host.attached("lan0") == (way == "clsact"))
    holder = host.holder()
    until(lambda: is_bare(host, "lan0"))


def test_what_others_have_hung_there_is_left_alone(host: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.WAY, "clsact")
    with host.host.inside(), monkeypatch.context() as theirs:
        theirs.setattr(links_of, "NAME", b"theirs\0")
        other = links_of.Clsact(Order.FIRST).attach(program.load(make_tables(1), True), host.index("lan0"))
    host.holder()
    client = let_in(host, "clsact")
    assert host.attached("lan0") == 2
    client.kill()
    until(lambda: host.attached("lan0") == 1)
    assert "theirs" in host.filters("lan0")
    with host.host.inside():
        other.remove()
    assert is_bare(host, "lan0")


def test_told_to_end_it_removes_what_nobody_else_would(host: Place, way: str) -> None:
    holder = host.holder()
    client = let_in(host, way)
    host.end(holder)
    client.hears("lost")
    assert host.attached("lan0") == (way == "tcx")


def test_there_is_one_holder_in_a_network_namespace(host: Place) -> None:
    host.holder()
    with host.host.inside():
        assert process.fork(Settings(NOBODY, ROWS)) is None
        with pytest.raises(PinholeError, match="another process holds the kernel path"):
            process.run(Settings(NOBODY, ROWS), Order.LAST)


def test_it_ends_with_the_process_that_has_started_it(host: Place) -> None:
    told, tell = os.pipe()
    with host.host.inside():
        if (parent := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                child = process.fork(Settings(NOBODY, ROWS))
                os.write(tell, f"{child.pid if child else 0}\n".encode())
                signal.pause()
            os._exit(1)
    holder = int(os.read(told, 100))
    client = let_in(host)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    client.hears("lost")
    until(lambda: has_ended(holder))
    client.kill()
    os.close(told)
    os.close(tell)


def has_ended(process: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{process}/stat").read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return True


# -- the daemon's side -------------------------------------------------------------------------------------------------


async def test_the_daemon_is_told_what_comes_and_goes_and_finds_a_holder_that_is_back(
    host: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("FIRST_SECONDS", "LONGEST_SECONDS"):
        monkeypatch.setattr(f"proxy.holder.client.{name}", 0.05)
    told: asyncio.Queue[object] = asyncio.Queue()

    def holds(given: Tables) -> None:
        told.put_nowait(Rows(given).capacity)

    def find() -> socket.socket | None:
        with host.host.inside():
            return process.find(patience=0)

    holder = host.holder(Settings(os.geteuid(), ROWS, frozenset({"lan0"})))
    client = Client(asyncio.get_running_loop(), find)
    client.on_tables = holds
    client.on_link = client.on_gone = client.on_off = told.put_nowait
    client.on_lost = lambda: told.put_nowait("lost")
    client.start()
    await client.first_word(10)
    index = host.index("lan0")
    assert [await told.get() for _ in range(2)] == [ROWS, index]
    host.ip("rule", "add", "fwmark", "5", "lookup", "100")
    assert await told.get() is Off.MARKS
    assert host.attached("lan0") == 0
    host.ip("rule", "del", "fwmark", "5", "lookup", "100")
    assert [await told.get() for _ in range(2)] == [ROWS, index]
    kill(holder)
    assert await told.get() == "lost"
    assert host.attached("lan0") == 1
    with commanded(
        host, f"policies: [{{name: all, action: accept}}]\nlimits: {{pinholes: {ROWS // 2}}}\nuser: root\n", tmp_path
    ):
        async with asyncio.timeout(START_SECONDS):
            assert await told.get() == ROWS
            while await told.get() != index:
                pass
        assert host.attached("lan0") == 1  # the link of before is closed
        client.stop()
        until(lambda: host.attached("lan0") == 0)


@contextlib.contextmanager
def commanded(host: Place, text: str, directory: Path) -> Iterator[None]:
    """A holder as an administrator starts one, with two capabilities."""
    path = directory / "pinhole.yaml"
    path.write_text(text)
    rights = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_admin,+bpf")
    with host.host.inside():
        running = subprocess.Popen((*rights, *COMMAND, "fastpath", "-c", str(path)), cwd=ROOT)
    try:
        yield
    finally:
        running.terminate()
        assert running.wait(60) == 0
