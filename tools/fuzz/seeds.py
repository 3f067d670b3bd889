"""The inputs that a search begins with: what transcripts and captures have, each also hidden, let in, and observed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from protocols.contract.addresses import Transport
from protocols.contract.engine import Helper
from tests.harness.playbook import NETWORKS, Transcript, on, transcripts
from tests.harness.scripts import announced, conversation
from tools.fuzz.captured import let_in, recordings
from tools.fuzz.cases import CLIENT_PORTS, Case, Said, Setting, choices, server_ports
from tools.fuzz.drive import Run


def seeds(helper: Helper) -> Iterator[Case]:
    for transcript in transcripts(helper.name):
        said = [Said(0, step) for step in conversation(transcript)]
        yield from (Case([setting], said) for setting in _others(_setting(transcript, helper), helper))
    for name, (peers, _, steps) in recordings(helper).items():
        said = [Said(0, step) for step in steps]
        for network in (name, f"{name}+snat"):
            setting = Setting(network, peers.transport)
            yield from (Case([one], said) for one in _others(setting, helper))
    yield from with_further(helper)


def with_further(helper: Helper) -> Iterator[Case]:
    """What captures have together with what was said on a connection that a message of it has announced, as the H.245
    of a call."""
    for name, (peers, _, steps) in recordings(helper).items():
        for network in (name, f"{name}+snat", f"{name}+dnat"):
            said = [Said(0, step) for step in steps]
            yield from _with_further(Case([Setting(network, peers.transport)], said), helper)


def _with_further(case: Case, helper: Helper) -> Iterator[Case]:
    for number in range(1, len(case.said)):
        run = Run(helper, Case(case.settings, case.said[:number]))
        for said in run.case.said:
            run.take(said)
        targets = [grant.expect.target for grant in announced(helper, run.sessions[0])]
        name = case.settings[0].network
        further = [Said(1, step) for target in targets for step in let_in(helper, name, target)]
        if further:
            yield Case([*case.settings, Setting(through=0)], [*case.said[:number], *further, *case.said[number:]])
            return


def _others(setting: Setting, helper: Helper) -> Iterator[Setting]:
    yield setting
    yield replace(setting, is_expected=not setting.is_expected)
    if "'observe'" in choices(helper).get("mode", ()):
        yield replace(setting, options=tuple(sorted({**dict(setting.options), "mode": "'observe'"}.items())))


def _setting(transcript: Transcript, helper: Helper) -> Setting:
    transport = transcript.network.transport
    chooses = transport is Transport.UDP or helper.reserved_source
    port = transcript.network.client.port if chooses else None
    port = port if port in CLIENT_PORTS else None
    peers = replace(transcript.network, role=None)
    dialled = peers.server_as_seen.port if peers.server_as_seen.port in server_ports(helper) else None
    dialled = dialled if transport is Transport.TCP else None
    network = next(name for name, hosts in NETWORKS.items() if on(hosts, helper, transport, port, dialled) == peers)
    options = tuple(sorted((name, repr(value).replace(" ", "")) for name, value in transcript.options.items()))
    is_expected = transcript.network.role is not None
    return Setting(network, transport, is_expected, client_port=port, server_port=dialled, options=options)
