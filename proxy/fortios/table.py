"""The session-helper table of a FortiGate in our words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.contract.addresses import Transport
from protocols.untaken import UNTAKEN
from proxy.config.schema import REGISTRY
from proxy.fortios.objects import Port
from proxy.fortios.syntax import Block

NUMBERS = {6: Transport.TCP, 17: Transport.UDP}

DEFAULT: tuple[tuple[int, str, int, int], ...] = (
    (1, "pptp", 6, 1723), (2, "h323", 6, 1720), (3, "ras", 17, 1719), (4, "tns", 6, 1521), (5, "tftp", 17, 69),
    (6, "rtsp", 6, 554), (7, "rtsp", 6, 7070), (8, "rtsp", 6, 8554), (9, "ftp", 6, 21), (10, "mms", 6, 1863),
    (11, "pmap", 6, 111), (12, "pmap", 17, 111), (13, "sip", 17, 5060), (14, "dns-udp", 17, 53),
    (15, "rsh", 6, 514), (16, "rsh", 6, 512), (17, "dcerpc", 6, 135), (18, "dcerpc", 17, 135),
    (19, "mgcp", 17, 2427), (20, "mgcp", 17, 2727),
)  # fmt: skip
"""The table that a FortiGate has from the factory: id, name, protocol, port."""

OTHER_NAMES = {"dns-udp": "dns", "dns-tcp": "dns"}
"""What FortiOS calls a helper -> what it is called here, where these are not the same."""
_FORTIOS_NAMES = {("dns", Transport.UDP): "dns-udp", ("dns", Transport.TCP): "dns-tcp"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of our table, or a remark on one that it has not."""

    id: int
    name: str
    protocol: Transport
    port: int
    remark: str = ""
    """Why it is not mapped. Empty: it is."""
    off: str = ""
    """Why it is mapped, and off until somebody turns it on. Empty: it is on."""

    @property
    def row(self) -> dict[str, Any]:
        """The same as keys of the file."""
        row = {"id": self.id, "name": self.name, "protocol": self.protocol.value, "port": self.port}
        return row | {"enabled": False} if self.off else row

    def is_within(self, ports: list[Port]) -> bool:
        """Whether these ports include the one of the entry."""
        return any(transport is self.protocol and low <= self.port <= high for transport, low, high in ports)


def factory() -> list[Entry]:
    """The table that a FortiGate has from the factory."""
    return [_entry(*row) for row in DEFAULT]


def fortios_name(name: str, transport: Transport) -> str:
    """What FortiOS calls a helper of ours."""
    return _FORTIOS_NAMES.get((name, transport), name)


def entries(domain: Block, common: Block) -> tuple[list[Entry], list[str]]:
    """The entries that the FortiGate serves, those that we have no helper for, and remarks on the whole."""
    block = common.blocks.get("system session-helper") or domain.blocks.get("system session-helper")
    found, remarks = _listed(block)
    return found + list(_of_the_alg(domain, found, remarks)), remarks


def _listed(block: Block | None) -> tuple[list[Entry], list[str]]:
    """The entries of the table itself."""
    if block is None or not block.edits:
        gone = set(block.deleted) if block is not None else set()
        rows = [entry for entry in factory() if str(entry.id) not in gone]
        return rows, ["the file has no session-helper table: this is the one of the factory"]
    found = [_read(int(number), entry.settings) for number, entry in block.edits.items() if number.isdigit()]
    return [each for each in found if each is not None], []


def _read(number: int, settings: Mapping[str, list[str]]) -> Entry | None:
    """An entry of the file."""
    name, protocol, port = (next(iter(settings.get(key, [])), "") for key in ("name", "protocol", "port"))
    if not (protocol.isdigit() and port.isdigit() and int(protocol) in NUMBERS and 1 <= int(port) <= 65535):
        return None
    return _entry(number, name, int(protocol), int(port))


def _entry(number: int, named: str, protocol: int, port: int) -> Entry:
    """An entry, with a remark if we cannot serve it."""
    transport = NUMBERS[protocol]
    name = OTHER_NAMES.get(named, named)
    if name not in REGISTRY:
        return Entry(number, named, transport, port, _not_taken_over(named, transport, port))
    helper = REGISTRY[name]
    if transport not in {spoken for spoken, _ in helper.ports}:
        return Entry(number, named, transport, port, f"{name} does not run over {transport.value} here")
    return Entry(number, name, transport, port, off=helper.off.get((transport, port), ""))


def _not_taken_over(name: str, transport: Transport, port: int) -> str:
    """Why no helper reads these sessions."""
    why = next((row.why for row in UNTAKEN if row.name == name), None)
    if why is None:
        return f"there is no helper {name} in this version"
    return f"not taken over: {why}; {transport.value} {port} is left to the forward policy"


def _of_the_alg(domain: Block, listed: list[Entry], remarks: list[str]) -> list[Entry]:
    """SIP is read by an application layer gateway of its own, unless the settings say that it is left to the helper. It
    has ports of its own, and needs no entry of the table."""
    settings = domain.block("system settings")
    if "sip" not in REGISTRY or settings.word("default-voip-alg-mode", "proxy-based") != "proxy-based":
        return []
    taken = {(each.protocol, each.port) for each in listed if not each.remark}
    number = max((each.id for each in listed), default=0)
    found: list[Entry] = []
    for key, transport in (("sip-udp-port", Transport.UDP), ("sip-tcp-port", Transport.TCP)):
        for word in settings.words(key) or ["5060"]:
            if word.isdigit() and 1 <= int(word) <= 65535 and (transport, int(word)) not in taken:
                number += 1
                found.append(Entry(number, "sip", transport, int(word)))
    if found:
        remarks.append("SIP: `default-voip-alg-mode proxy-based` reads it on ports of its own, which are entries here")
    return found
