"""Interfaces by name: those that an auditor meets, and those that are read here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from protocols.dcerpc.wire import Uuid, uuid_of, uuid_text

ENDPOINT_MAPPER = uuid_of("e1af8308-5d1f-11c9-91a4-08002b14a0fa")
OXID_RESOLVER = uuid_of("99fcfec4-5260-101b-bbcb-00aa0021347a")
SYSTEM_ACTIVATOR = uuid_of("000001a0-0000-0000-c000-000000000046")
ACTIVATION = uuid_of("4d9f4ab8-7d1c-11cf-861e-0020af6e7c57")

_NAMES = {
    "epmapper": "e1af8308-5d1f-11c9-91a4-08002b14a0fa",
    "mgmt": "afa8bd80-7d8a-11c9-bef4-08002b102989",
    # DCOM and what lives on it.
    "oxidresolver": "99fcfec4-5260-101b-bbcb-00aa0021347a",
    "systemactivator": "000001a0-0000-0000-c000-000000000046",
    "activation": "4d9f4ab8-7d1c-11cf-861e-0020af6e7c57",
    "remunknown": "00000131-0000-0000-c000-000000000046",
    "remunknown2": "00000143-0000-0000-c000-000000000046",
    "wbemlevel1login": "f309ad18-d86a-11d0-a075-00c04fb68820",
    "wbemservices": "9556dc99-828c-11cf-a37e-00aa003240c7",
    # A domain and its controllers.
    "lsarpc": "12345778-1234-abcd-ef00-0123456789ab",
    "samr": "12345778-1234-abcd-ef00-0123456789ac",
    "netlogon": "12345678-1234-abcd-ef00-01234567cffb",
    "drsuapi": "e3514235-4b06-11d1-ab04-00c04fc2dcd2",
    "dsaop": "7c44d7d4-31d5-424c-bd5e-2b3e1f323d22",
    "dssetup": "3919286a-b10c-11d0-9ba8-00c04fd92ef5",
    "dnsserver": "50abc2a4-574d-40b3-9d66-ee4fd5fba076",
    "dfsr": "897e2e5f-93f3-4376-9c9c-fd2277495c27",
    "frsrpc": "f5cc59b4-4264-101a-8c59-08002b2f8426",
    "backupkey": "3dde7c30-165d-11d1-ab8f-00805f14db40",
    "icertpassage": "91ae6020-9e3c-11cf-8d7c-00aa00c091be",
    # Servers.
    "srvsvc": "4b324fc8-1670-01d3-1278-5a47bf6ee188",
    "wkssvc": "6bffd098-a112-3610-9833-46c3f87e345a",
    "eventlog": "82273fdc-e32a-18c3-3f78-827929dc23ea",
    "eventlog6": "f6beaff7-1e19-4fbb-9f8f-b89e2018337c",
    "witness": "ccd8c074-d0e5-4a40-92b4-d074faa6ba28",
    "nspi": "f5cc5a18-4264-101a-8c59-08002b2f8426",
    "mapi": "a4f1db00-ca47-1067-b31f-00dd010662da",
    "rfri": "1544f5e0-613c-11d1-93df-00c04fd7bd09",
    # Remote control, and what is used to have a server authenticate to others (DC36).
    "svcctl": "367abb81-9844-35f1-ad32-98f038001003",
    "winreg": "338cd001-2244-31f1-aaaa-900038001003",
    "atsvc": "1ff70682-0a51-30e8-076d-740be8cee98b",
    "sasec": "378e52b0-c0a9-11cf-822d-00aa0051e40f",
    "itaskschedulerservice": "86d35949-83c9-4044-b424-db363231fd0c",
    "efsrpc": "c681d488-d850-11d0-8c52-00c04fd90f7e",
    "spoolss": "12345678-1234-abcd-ef00-0123456789ab",
    "iremotewinspool": "76f03f96-cdfd-44fc-a22c-64950a001209",
    "netdfs": "4fc742e0-4a10-11cf-8273-00aa004ae673",
    "fssagentrpc": "a8e0653c-2744-4389-a61d-7373df8b2292",
}
KNOWN: Mapping[Uuid, str] = {uuid_of(text): name for name, text in _NAMES.items()}
_BY_NAME = {name: uuid for uuid, name in KNOWN.items()}


def name_of(uuid: Uuid) -> str:
    """The name of an interface, or its UUID again."""
    return KNOWN.get(uuid) or uuid_text(uuid)


@lru_cache(maxsize=256)
def uuids_of(words: tuple[str, ...]) -> frozenset[Uuid]:
    """The interfaces that an option names, each by name or UUID. Raises ValueError."""
    return frozenset(map(_uuid_of, words))


def _uuid_of(word: str) -> Uuid:
    known = _BY_NAME.get(word.lower())
    if known is not None:
        return known
    try:
        return uuid_of(word)
    except ValueError:
        raise ValueError(f"{word!r} is neither a UUID nor one of {', '.join(sorted(_BY_NAME))}") from None
