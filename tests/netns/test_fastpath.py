"""Media that passes in the kernel: to its parties it is the same as in user space, and nothing of it outlives its call,
the daemon, or the reasons for which it may pass there."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.waiting import until
from tests.netns.holder_site import Place
from tests.netns.media_site import FEW, SECONDS, Mode, Phone, Site, Socket, Talk, Voice, both_are_heard, site
from tests.netns.namespaces import Namespace, needs_root
from tests.netns.traffic import last_heard
from tools.lab import daemon
from tools.lab.daemon import KernelPath
from tools.lab.links import wait_until_up

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

MANY = 60
LONG = bytes(3000)
"""More than a link takes: it comes in fragments."""
WAYS: tuple[tuple[KernelPath, Mode, int], ...] = (
    ("tcx", "N", 4),
    ("clsact", "S", 6),
    ("tcx", "D", 6),
    ("clsact", "S", 4),
)
ROUTE_SECONDS = 1.1
"""A route is remembered for one second."""
SLACK_SECONDS = 8.9
"""For a busy machine. A route that were not looked up again would be remembered for as long as the stream goes on."""
NO_DAD: dict[int, tuple[str, ...]] = {4: (), 6: ("nodad",)}


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0]}-{way[1]}{way[2]}")
def place(request: pytest.FixtureRequest) -> Iterator[Site]:
    way, mode, version = request.param
    with site(mode, version=version, wide=True, kernel_path=way) as found:
        for name in ("all", "default", "lan0", "lan1", "wan0"):
            found.lab.gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 0)
        yield found


@contextlib.contextmanager
def talking(place: Site, talk: Talk | None = None) -> Iterator[Talk]:
    """A call whose media passes in the kernel, both ways."""
    if talk is None:
        talk = place.talk()
    both_in_kernel(place, talk)
    yield talk
    talk.hang_up()


def both_in_kernel(place: Site, talk: Talk) -> None:
    both_are_heard(talk)
    both_are_heard(talk)
    until(lambda: streams(place) >= 2)  # what is heard may be so a moment before the daemon has settled its stream


def streams(place: Site) -> int:
    count: int = place.daemon.ask("status")["fastpath"]["streams"]
    return count


def closed(place: Site, talk: Talk) -> dict[Phone, dict[str, Any]]:
    """What the log says at the end of each party's place, by the party that packets went to."""
    place.daemon.wait_for("pinhole.closed", 2, call_id=talk.call)
    opened = [line["pinhole"] for line in place.daemon.audit("pinhole.opened", call_id=talk.call)]
    lines = {line["pinhole"]: line for line in place.daemon.audit("pinhole.closed", call_id=talk.call)}
    return {phone: lines[name] for phone, name in zip((talk.caller, talk.callee), opened, strict=True)}


def other_port(place: Site, phone: Phone) -> Any:
    """A stranger on the phone's own host."""
    return place.open(phone.host, 9000 + next(_ports))


_ports = itertools.count()


# -- what passes is what was sent --------------------------------------------------------------------------------------


def test_counts_are_those_of_what_was_sent_with_fragments_and_strangers_between(place: Site) -> None:
    talk = place.talk()
    sent = {phone: [0, 0] for phone in (talk.caller, talk.callee)}

    def say(phone: Phone, voice: Voice, count: int) -> None:
        assert talk.is_heard(phone, count, voice=voice) == count
        sent[phone][0] += count
        sent[phone][1] += count * len(voice.packet())

    short = talk.voices
    long = {phone: Voice(LONG) for phone in short}
    for phone in short:
        say(phone, short[phone], FEW)
    until(lambda: streams(place) == 2)  # what is heard may be so a moment before the daemon has settled its stream
    in_kernel = 0
    for _ in range(3):
        for phone in short:
            say(phone, short[phone], MANY)
            in_kernel += MANY
            say(phone, long[phone], FEW)
            talk.say(phone, FEW, other_port(place, phone))
    assert streams(place) == 2
    talk.hang_up()
    lines = closed(place, talk)
    for phone, (packets, size) in sent.items():
        to, back = lines[talk.other(phone)], lines[phone]
        assert (to["packets_in"], to["bytes_in"]) == (packets, size) == (back["packets_out"], back["bytes_out"])
        assert (to["packets_refused"], to.get("packets_lost", 0)) == (3 * FEW, 0)
        # The stream is settled somewhere among the first packets, and those that had come by then pass user space.
        assert abs(to["packets_in_kernel"] - in_kernel) <= 2 * FEW
    assert streams(place) == 0


@pytest.mark.parametrize("first", ["caller", "callee"])
def test_nothing_passes_after_the_bye_under_load_and_all_that_passed_is_counted(place: Site, first: str) -> None:
    talk = place.talk()
    both_in_kernel(place, talk)
    phone = talk.caller if first == "caller" else talk.callee
    is_over, is_under_way = threading.Event(), threading.Event()

    def flood() -> None:
        for number in itertools.count():
            talk.say(phone, FEW)
            if number * FEW > 4 * MANY:
                is_under_way.set()
            if is_over.is_set():
                return
            time.sleep(0.002)

    sender = threading.Thread(target=flood)
    sender.start()
    assert is_under_way.wait(10)
    talk.hang_up()
    hearer = talk.media[talk.other(phone)][0]
    heard = hearer.hears_all(talk.voices[phone])
    is_over.set()
    sender.join()
    assert hearer.is_deaf_to(talk.voices[phone])
    line = closed(place, talk)[talk.other(phone)]
    assert heard > MANY
    assert line["packets_in"] == heard + 2 * FEW


def test_a_closed_port_costs_its_own_packets_and_no_other_ones(place: Site) -> None:
    """The errors that the kernel is told by ICMP are nobody's who reads the socket later (D50)."""
    with talking(place) as talk:
        hearer = talk.media[talk.callee][0]
        port = hearer.port
        hearer.socket.close()
        talk.say(talk.caller, MANY)
        talk.media[talk.callee] = [place.open(talk.callee.host, port)]
        both_are_heard(talk)
        assert talk.is_heard(talk.caller, FEW, voice=Voice(LONG)) == FEW


# -- a call that changes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["zero address", "sendonly"])
def test_hold_leaves_every_row_where_it_is_and_who_goes_on_sending_is_heard(place: Site, way: str) -> None:
    """The places stay (D25), and what changes no address is no reason to take a row back."""
    with talking(place) as talk:
        holder, held, told = talk.callee, talk.caller, dict(talk.to)
        if way == "zero address":
            talk.media_at[holder] = place.hold
            talk.change(holder)
            assert talk.to[held][0][0] == place.hold
            talk.to[held] = told[held]
        else:
            talk.change(holder, more="a=sendonly\r\n", answer_more="a=recvonly\r\n")
        assert (talk.to, streams(place)) == (told, 2)
        both_are_heard(talk)
        assert streams(place) == 2
        talk.media_at.clear()
        talk.change(holder)
        assert (talk.to, streams(place)) == (told, 2)
        both_in_kernel(place, talk)
    for line in closed(place, talk).values():
        assert (line["packets_in"], line["packets_out"], line["packets_refused"]) == (5 * FEW, 5 * FEW, 0)
        assert line["packets_in_kernel"] >= 6 * FEW  # of both directions, but for what began them


@pytest.mark.parametrize("mover", ["caller", "callee"])
def test_a_transfer_to_another_port_takes_the_stream_along_at_once(place: Site, mover: str) -> None:
    with talking(place) as talk:
        phone = talk.caller if mover == "caller" else talk.callee
        (before,) = talk.take_new_ports(phone).values()
        talk.change(phone)
        both_in_kernel(place, talk)
        assert before.is_deaf_to(talk.voices[talk.other(phone)])


def test_a_transfer_to_another_host_that_is_named_takes_the_stream_along_at_once(place: Site) -> None:
    """Outside, where a party may name any host that the policy does; inside each one names itself."""
    with talking(place) as talk:
        moved, partner, host = place.far, place.near, place.lab.server_stranger
        (before,) = talk.media[moved]
        talk.media[moved] = [place.open(host, 9000 + next(_ports))]
        talk.media_at[moved] = str(host.address(place.version))
        talk.change(moved)
        both_in_kernel(place, talk)
        assert streams(place) == 2
        assert before.is_deaf_to(talk.voices[partner])
        talk.say(moved, FEW, before)
        assert talk.media[partner][0].is_deaf_to(talk.voices[moved])
        both_are_heard(talk)
        assert streams(place) == 2
    lines = closed(place, talk)
    for line in lines.values():
        assert (line["packets_in"], line["packets_out"]) == (5 * FEW, 5 * FEW)
    # A place at an address of the party's hears its partner's host alone (without NAT).
    refused = 0 if place.mode == "N" else FEW
    assert [lines[phone]["packets_refused"] for phone in (partner, moved)] == [refused, 0]


def test_the_newer_of_two_calls_on_the_same_addresses_has_them_until_it_ends(place: Site) -> None:
    """A phone that was reset has not hung up."""
    older = place.talk()
    both_in_kernel(place, older)
    newer = Talk(*place.parties)
    newer.media = older.media
    newer.begin()
    with talking(place, newer):
        assert newer.is_heard(newer.caller, MANY) == MANY
    both_in_kernel(place, older)
    older.hang_up()
    ends = [closed(place, talk)[talk.callee]["packets_in"] for talk in (older, newer)]
    assert ends == [4 * FEW, 2 * FEW + MANY]


# -- the network around it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["lan0", "wan0"])
def test_an_interface_that_goes_and_comes_has_its_streams_again(place: Site, side: str) -> None:
    """As PPPoE does, which has another index each time."""
    with talking(place) as talk:
        lab = place.lab
        links = next(each for each in lab._gateway_links().split(f"link add {side} address")[1:])
        again = f"link add {side} address" + links.partition("link add lan1 ")[0].partition("link add wan0 ")[0]
        words = [line for line in again.splitlines() if "type veth" not in line]
        ports = [line.split()[2] for line in words if f"master {side}" in line]
        routes = [line for line in lab._gateway_links().splitlines() if line.startswith("route add") and side == "wan0"]
        lab.gateway.run(["ip", "link", "del", side])
        for line in [*words, *routes]:
            lab.gateway.run(["ip", *line.split()], check="route" not in line)
        assert ports
        until(lambda: side in place.daemon.ask("status")["fastpath"]["interfaces"])
        wait_until_up([lab.gateway.netns])
        time.sleep(ROUTE_SECONDS)
        both_in_kernel(place, talk)


def test_routes_and_routing_rules_of_now_hold(place: Site) -> None:
    """From a second after they have changed. What a route leads elsewhere comes out there."""
    with talking(place) as talk:
        gateway, neighbour = place.lab.gateway, place.lab.neighbour
        hearer, voice = talk.media[talk.callee][0], talk.voices[talk.caller]
        to, length = talk.callee.at, 32 if place.version == 4 else 128
        neighbour.run(["ip", "address", "add", f"{to}/{length}", "dev", "eth0", *NO_DAD[place.version]])
        elsewhere = place.open(neighbour, hearer.port, spoofs=to)
        within = ROUTE_SECONDS + SLACK_SECONDS

        def reaches(sock: Socket) -> bool:
            """Whether what is said now comes there."""
            while select.select([sock.socket], [], [], 0)[0]:
                sock.socket.recv(65535)
            talk.say(talk.caller, 1)
            return bool(select.select([sock.socket], [], [], 0.1)[0])

        source = talk.to[talk.callee][0][0]
        via = ["via", str(neighbour.address(place.version))]
        for change, back in (
            (["route", "add", "blackhole", f"{to}/{length}"], ["route", "del", "blackhole", f"{to}/{length}"]),
            (
                ["rule", "add", "from", source, "priority", "9000", "blackhole"],
                ["rule", "del", "from", source, "priority", "9000"],
            ),
            (["route", "add", f"{to}/{length}", *via], ["route", "del", f"{to}/{length}", *via]),
        ):
            gateway.run(["ip", f"-{place.version}", *change])
            until(lambda: not reaches(hearer), seconds=within)
            hearer.hears_all(voice)
            elsewhere.hears_all(voice)
            talk.say(talk.caller, MANY)
            assert elsewhere.hears_all(voice) == (MANY if "via" in change else 0)
            assert hearer.is_deaf_to(voice)
            gateway.run(["ip", f"-{place.version}", *back])
            until(lambda: reaches(hearer), seconds=within)
            hearer.hears_all(voice)
            assert talk.is_heard(talk.caller, MANY) == MANY
            assert streams(place) >= 2
        neighbour.run(["ip", "address", "del", f"{to}/{length}", "dev", "eth0"])
    in_kernel = closed(place, talk)[talk.callee]["packets_in_kernel"]
    assert in_kernel >= 4 * MANY  # all that came out anywhere, but for what began the streams


def test_what_is_longer_than_the_way_takes_passes_in_fragments(place: Site) -> None:
    with talking(place) as talk:
        place.lab.gateway.run(["ip", "link", "set", "wan0", "mtu", "1280"])
        try:
            long = Voice(bytes(1350))
            time.sleep(ROUTE_SECONDS)
            assert talk.is_heard(talk.caller, FEW, voice=long) == FEW
            both_are_heard(talk)
        finally:
            place.lab.gateway.run(["ip", "link", "set", "wan0", "mtu", "1500"])


def test_shaping_on_the_way_out_is_in_force(place: Site) -> None:
    with talking(place) as talk:
        gateway = place.lab.gateway
        shaper = ["tbf", "rate", "400kbit", "burst", "3kb", "latency", "20ms"]
        gateway.run(["tc", "qdisc", "add", "dev", "wan0", "root", *shaper])
        try:
            began = time.monotonic()
            talk.say(place.near, 10 * MANY)
            took = time.monotonic() - began
            heard = talk.media[place.far][0].hears_all(talk.voices[place.near])
        finally:
            gateway.run(["tc", "qdisc", "del", "dev", "wan0", "root"])
        assert 0 < heard < MANY + 250 * took  # of 200 bytes at least, so no more than 250 a second


def test_a_sender_that_bears_a_party_s_address_by_another_interface_is_not_heard(place: Site) -> None:
    """By one that the policy lets no client in by, and the caller is its client."""
    with talking(place) as talk:
        caller = talk.caller
        (port,) = [sock.port for sock in talk.media[caller]]
        spoofer = place.open(place.lab.neighbour, port, spoofs=caller.at)
        forged = Voice()
        spoofer.say(forged, talk.to[caller][0], FEW)
        assert talk.media[talk.callee][0].is_deaf_to(forged)
        both_are_heard(talk)
        assert streams(place) == 2
    assert closed(place, talk)[talk.callee]["packets_refused"] == FEW


# -- what it is made of goes away --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["tcx", "clsact"])
def fragile(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site("S", kernel_path=request.param) as found:
        yield found


def killed(place: Site) -> None:
    holder, place.daemon.holder = place.daemon.holder, None
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    os.waitpid(holder.pid, 0)
    os.close(holder.lifeline)


def is_attached(place: Site) -> None:
    """Tables come first, and then one link after the other."""
    until(lambda: set(daemon.INTERFACES) <= set(place.daemon.ask("status")["fastpath"]["interfaces"]))


def attached(place: Site) -> list[int]:
    """How many programs hang at each interface, by whichever way."""
    links = Place(Namespace(place.lab.gateway.netns))
    return [links.attached(name) for name in daemon.INTERFACES]


def test_without_the_holder_streams_go_on_and_the_next_holder_has_them(fragile: Site) -> None:
    talk = fragile.talk()
    both_in_kernel(fragile, talk)
    killed(fragile)
    assert talk.is_heard(talk.caller, MANY) == MANY
    fragile.daemon.wait_for("fastpath.lost", reason="no_holder", streams=2)
    later = fragile.talk()
    both_are_heard(later)
    assert streams(fragile) == 2
    fragile.daemon.hold()
    fragile.daemon.wait_for("fastpath.back")
    is_attached(fragile)
    both_in_kernel(fragile, talk)
    both_in_kernel(fragile, later)
    assert streams(fragile) == 4
    talk.hang_up()
    later.hang_up()
    line = closed(fragile, talk)[talk.callee]
    assert line["packets_in"] == 4 * FEW + MANY


def test_an_ipsec_policy_ends_it_and_calls_go_on(fragile: Site) -> None:
    talk = fragile.talk()
    both_in_kernel(fragile, talk)
    policy = "src 192.0.2.1/32 dst 192.0.2.2/32 dir out"
    fragile.lab.gateway.run(["ip", "xfrm", "policy", "add", *policy.split(), "action", "block"])
    fragile.daemon.wait_for("fastpath.lost", reason="ipsec_policies")
    both_are_heard(talk)
    assert streams(fragile) == 0
    count = len(fragile.daemon.audit("fastpath.back"))
    fragile.lab.gateway.run(["ip", "xfrm", "policy", "delete", *policy.split()])
    fragile.daemon.wait_for("fastpath.back", count + 1)
    is_attached(fragile)
    both_in_kernel(fragile, talk)
    talk.hang_up()


@pytest.mark.parametrize("order", ["daemon", "holder first", "daemon first"])
def test_nothing_passes_after_the_death_of_the_daemon(fragile: Site, order: str) -> None:
    talk = fragile.talk()
    both_in_kernel(fragile, talk)
    assert attached(fragile) == [1, 1]
    if order == "holder first":
        killed(fragile)
    fragile.daemon.signal(signal.SIGKILL)
    if order == "daemon first":
        killed(fragile)
    fragile.daemon.wait()
    # What stays attached, without a lease that ends it, is heard for all of SECONDS.
    assert last_heard(talk) < SECONDS - 1
    # By clsact only the holder detaches the program; without it the lease has ended what passes.
    if order == "daemon" or fragile.daemon.kernel_path != "clsact":
        until(lambda: attached(fragile) == [0, 0])
    fragile.daemon.start()
    again = fragile.talk()
    both_in_kernel(fragile, again)
    again.hang_up()


def test_when_all_rows_are_taken_calls_go_on_and_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "ROWS", 2)
    with site("S", kernel_path="tcx") as place, talking(place) as first:
        second = place.talk()
        both_are_heard(second)
        both_are_heard(second)
        assert streams(place) == 2
        assert place.daemon.wait_for("fastpath.full")["streams_limit"] == 2
        assert len(place.daemon.audit("fastpath.full")) == 1
        second.hang_up()
        both_are_heard(first)


def test_media_of_a_policy_may_stay_in_the_daemon_and_a_daemon_may_insist_on_the_kernel() -> None:
    with site("S", "media_path: user", kernel_path="tcx") as place:
        talk = place.talk()
        both_are_heard(talk)
        both_are_heard(talk)
        assert streams(place) == 0
        talk.hang_up()
        place.daemon.stop()
        place.daemon.let_go()
        place.daemon.kernel_path = "off"
        text = place.daemon.config.read_text().partition("audit:")[0]
        place.daemon.write_config(f"{text}network: {{fastpath: require}}")
        with pytest.raises(RuntimeError, match="no_holder"):
            place.daemon.start()
