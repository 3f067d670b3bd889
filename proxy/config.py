"""The configuration: what the YAML file may say, as frozen values.

The classes below are schema, defaults and manual at once: a field's name (or its alias) is the key in the file, the
string under it is what `pinhole config schema` prints. `load` reads a file and reports all that is wrong with it together.

    text --yaml_marks--> plain values + where each stood --pydantic--> Config --config_checks--> Config | ConfigError

Values come out of YAML as a JSON document would hold them and are checked strictly: "21" is not 21, `yes` is no boolean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError, core_schema

import protocols
from protocols.engine import Helper, Host, Network, Transport

REGISTRY: Mapping[str, Helper] = {helper.name: helper for helper in getattr(protocols, "HELPERS", ())}

_PROTOCOL_NUMBERS = {6: Transport.TCP, 17: Transport.UDP}
"""FortiOS writes the IP protocol as a number."""


def _wrong(text: str) -> PydanticCustomError:
    """A problem in our own words; pydantic puts "Value error, " before those of a ValueError."""
    return PydanticCustomError("pinhole", "{text}", {"text": text})


# -- values written as one word ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A firewall mark: `value` in the bits of `mask`; the other bits belong to somebody else."""

    value: int
    mask: int

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True)
class Dnat:
    """Where sessions of a policy are dialled instead. `port` None: the one that the client dialled."""

    host: Host
    port: int | None

    def __str__(self) -> str:
        if self.port is None:
            return str(self.host)
        return f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"


def plain_host(host: Host) -> Host:
    """An IPv4-mapped IPv6 address as the IPv4 address it stands for, any other as it is (rule X5)."""
    return (isinstance(host, IPv6Address) and host.ipv4_mapped) or host


def _number(text: str, highest: int) -> int | None:
    """Decimal digits up to `highest`, nothing else (rule X4)."""
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) and int(text) <= highest else None


def _parse_ports(value: Any) -> PortRange:
    if isinstance(value, PortRange):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,5})\s*(?:-\s*([0-9]{1,5}))?", value)):
        first, last = int(match[1]), int(match[2] or match[1])
    else:
        raise _wrong("expected a port or a range FIRST-LAST of ports")
    if not (1 <= first <= 65535 and 1 <= last <= 65535):
        raise _wrong("a port is a number from 1 to 65535")
    if first > last:
        raise _wrong(f"the range runs backwards; did you mean {last}-{first}?")
    return PortRange(first, last)


def _parse_pool(value: Any) -> PortRange:
    ports = _parse_ports(value)
    if ports.first < 1024:
        raise _wrong("ports below 1024 belong to well-known services and are never opened; begin at 1024 or above")
    return ports


def _parse_host(value: Any) -> Host:
    try:
        host = ip_address(value) if isinstance(value, str) else value
    except ValueError:
        raise _wrong(f"{value!r} is not an IP address") from None
    if not isinstance(host, Host):
        raise _wrong("expected an IP address")
    if host.is_unspecified or host.is_multicast or (isinstance(host, IPv6Address) and host.scope_id):
        raise _wrong(f"{host} is not the address of one host")
    return plain_host(host)


def _parse_network(value: Any) -> Network:
    if isinstance(value, str):
        try:
            value = ip_network(value)
        except ValueError:
            try:
                loose = ip_network(value, strict=False)
            except ValueError:
                raise _wrong(f"{value!r} is not an IP network or address") from None
            raise _wrong(f"{value} has bits set outside its prefix; did you mean {loose}?") from None
    if not isinstance(value, Network):
        raise _wrong("expected an IP network, as 10.1.0.0/24 or fd01::/64")
    mapped = value.network_address.ipv4_mapped if isinstance(value, IPv6Network) and value.prefixlen >= 96 else None
    return ip_network((mapped, value.prefixlen - 96)) if mapped else value


def _parse_protocol(value: Any) -> Transport:
    if isinstance(value, Transport):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in _PROTOCOL_NUMBERS:
        return _PROTOCOL_NUMBERS[value]
    if isinstance(value, str) and value.lower() in ("tcp", "udp"):
        return Transport(value.lower())
    raise _wrong("expected tcp or udp (or their numbers, 6 and 17)")


def _parse_dnat(value: Any) -> Dnat:
    if isinstance(value, Dnat):
        return value
    if not isinstance(value, str):
        raise _wrong("expected ADDRESS or ADDRESS:PORT")
    match = re.fullmatch(r"\[(?P<v6>[^]]*)\](?::(?P<p6>.*))?|(?P<v4>[^:]*):(?P<p4>.*)", value)
    if match is None:
        return Dnat(_parse_host(value), None)
    host = _parse_host(match["v6"] or match["v4"])
    digits = match["p6"] if match["v6"] else match["p4"]
    if digits is None:
        return Dnat(host, None)
    port = _number(digits, 65535)
    if not port:
        raise _wrong(f"{digits!r} is not a port; expected ADDRESS or ADDRESS:PORT, with IPv6 as [ADDRESS]:PORT")
    return Dnat(host, port)


def _parse_snat(value: Any) -> Any:
    if value in ("none", "interface"):
        return value
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise _wrong("the list of addresses is empty; for no source NAT write none")
    try:
        return tuple(_parse_host(item) for item in items)
    except PydanticCustomError as error:
        raise _wrong(f"{error.message()}; expected none, interface, an address or a list of addresses") from None


def _parse_action(value: Any, info: ValidationInfo) -> bool:
    if isinstance(value, bool) and info.mode == "python":
        return value
    if value not in ("accept", "deny"):
        raise _wrong("expected accept or deny")
    return bool(value == "accept")


def _parse_mark(value: Any) -> Mark:
    if isinstance(value, Mark):
        return value
    match = re.fullmatch(r"(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})/(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})", str(value))
    if match is None:
        raise _wrong("expected VALUE/MASK, as 0x1000000/0x1000000: the mask says which bits of the mark are ours")
    number, mask = int(match[1], 0), int(match[2], 0)
    if not number or mask > 0xFFFFFFFF:
        raise _wrong("a mark has 32 bits, and at least one of them must be set")
    if number & ~mask:
        raise _wrong(f"the mark has bits outside its mask {mask:#x}")
    return Mark(number, mask)


def _parse_table(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 0xFFFFFFFF:
        raise _wrong("expected the number of a routing table of our own, 1 to 4294967295")
    if value in (253, 254, 255):
        raise _wrong(f"routing table {value} is one of the system's own (default, main, local)")
    return value


def _parse_path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise _wrong("expected an absolute path")
    return value


def _parse_socket_path(value: Any) -> str:
    path = _parse_path(value)
    if len(path.encode()) > 107:
        raise _wrong("the path is longer than the 107 bytes that the name of a UNIX socket can have")
    return path


def _parse_audit_to(value: Any) -> str:
    if value in ("stdout", "stderr"):
        return str(value)
    try:
        return _parse_path(value)
    except PydanticCustomError:
        raise _wrong("expected stdout, stderr or the absolute path of a file") from None


def _parse_interface(value: Any) -> str:
    # The kernel's own rule (dev_valid_name): 1 to 15 bytes, no slash, no colon, no blank, not "." or "..".
    if not isinstance(value, str) or not re.fullmatch(r"[^\s/:\0]{1,15}", value) or value in (".", ".."):
        raise _wrong("expected the name of a network interface, at most 15 characters")
    return value


def _parse_name(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or value != value.strip() or not 1 <= len(value) <= 63:
        raise _wrong("expected a name of 1 to 63 printable characters")
    return value


def _one_or_many(value: Any) -> Any:
    """A single value stands for a list of it, and `any` for none."""
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if "any" not in items:
        return items
    if len(items) > 1:
        raise _wrong("`any` stands alone")
    return ()


def _ports_or_many(value: Any) -> Any:
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not items:
        raise _wrong("the list of ports is empty")
    return items


_PORT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": r"^[0-9]{1,5}(\s*-\s*[0-9]{1,5})?$"},
    ]
}
_WORD = PlainSerializer(str)
_TEXT: dict[str, Any] = {"type": "string"}
_PATH: dict[str, Any] = {"type": "string", "pattern": "^/"}


def _many(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item}]}


_Ports = Annotated[PortRange, PlainValidator(_parse_ports), _WORD]
_Network = Annotated[Network, PlainValidator(_parse_network)]
_Interface = Annotated[str, PlainValidator(_parse_interface)]
_Name = Annotated[str, PlainValidator(_parse_name), WithJsonSchema({**_TEXT, "minLength": 1, "maxLength": 63})]
_Any = BeforeValidator(_one_or_many)
_Positive = Annotated[int, Field(ge=1, le=10_000_000)]
_Seconds = Annotated[float, Field(gt=0, le=604_800)]


# -- the file ----------------------------------------------------------------------------------------------------------


class _Section(BaseModel):
    """A mapping of the file. Python code names the fields; the file may only use the keys (see `load`)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


_option_fields: dict[str, Any] = {
    name: (helper.options, Field(default_factory=helper.options)) for name, helper in REGISTRY.items()
}
_Options = create_model(
    "Options",
    __config__=_Section.model_config,
    __doc__="What each helper lets an operator choose.",
    **_option_fields,
)


def _options_by_name(options: BaseModel) -> dict[str, Any]:
    return {name: getattr(options, name) for name in type(options).model_fields}


_OptionsByName = Annotated[
    Mapping[str, Any],
    GetPydanticSchema(
        lambda _, handler: core_schema.no_info_after_validator_function(_options_by_name, handler(_Options))
    ),
]


class HelperEntry(_Section):
    """A line of the session-helper table: which helper reads sessions to which port."""

    id: Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
    """Number of the entry, each once, as in FortiOS."""
    name: str
    """The helper. Several entries may name the same one."""
    protocol: Annotated[Transport, PlainValidator(_parse_protocol), WithJsonSchema({"enum": ["tcp", "udp", 6, 17]})]
    """tcp or udp, or as FortiOS writes them, 6 or 17."""
    ports: Annotated[tuple[_Ports, ...], BeforeValidator(_ports_or_many), WithJsonSchema(_many(_PORT_SCHEMA))] = Field(
        validation_alias="port"
    )
    """Destination port, a range FIRST-LAST, or a list of both."""


class Policy(_Section):
    """Which sessions are let through, and under whose address. The first policy that matches decides; none: deny."""

    name: _Name
    """What the audit log calls it."""
    interfaces: Annotated[tuple[_Interface, ...], _Any, WithJsonSchema(_many(_TEXT))] = Field(
        default=(), validation_alias="from"
    )
    """Interfaces the session comes in by. Left out: any."""
    sources: Annotated[tuple[_Network, ...], _Any, WithJsonSchema(_many(_TEXT))] = Field(
        default=(), validation_alias="source"
    )
    """Networks of the client. Left out, or `any`: any."""
    destinations: Annotated[tuple[_Network, ...], _Any, WithJsonSchema(_many(_TEXT))] = Field(
        default=(), validation_alias="destination"
    )
    """Networks of the address that the client dials. Left out, or `any`: any."""
    helpers: Annotated[tuple[str, ...], _Any, WithJsonSchema(_many(_TEXT))] = ()
    """Helpers it is for. Left out, or `any`: any."""
    accept: Annotated[bool, PlainValidator(_parse_action), WithJsonSchema({"enum": ["accept", "deny"]})] = Field(
        validation_alias="action"
    )
    """accept: take the session over. deny: reset it (TCP) or drop it (UDP)."""
    snat: Annotated[
        Literal["none", "interface"] | tuple[Host, ...],
        PlainValidator(_parse_snat),
        WithJsonSchema(_many(_TEXT)),
    ] = "none"
    """Whom the server sees. none: the client itself. interface: the address that the route to the server would use.
    Otherwise an address or a list of them; a client always gets the same one."""
    dnat: Annotated[Dnat, PlainValidator(_parse_dnat), _WORD, WithJsonSchema(_TEXT)] | None = None
    """Dial this ADDRESS or ADDRESS:PORT instead of what the client dialled: publishes an inside server."""
    options: _OptionsByName = Field(default_factory=lambda: _options_by_name(_Options()))
    """Options of each helper for sessions of this policy."""


class Limits(_Section):
    """How much there may be at once. Beyond it a session is refused, or a pinhole answered in its own protocol."""

    sessions: _Positive = 20_000
    """Sessions in all. Each takes two descriptors and some 60 KiB."""
    sessions_per_client: _Positive = 200
    """Sessions of one client address."""
    pinholes: _Positive = 100_000
    """Pinholes in all."""
    pinholes_per_session: _Positive = 64
    """Pinholes of one session."""


class Timeouts(_Section):
    """Seconds. How long a session may be silent is an option of its helper."""

    pinhole_open: _Seconds = 60
    """From the agreement to the first use of a pinhole; FTP needs at least 30."""
    connect: _Seconds = 10
    """For the server to answer when it is dialled."""
    half_closed: _Seconds = 60
    """For the second side to end after the first has."""
    drain: _Seconds = 30
    """For transfers to end when the daemon is stopped; then they are cut."""


class Audit(_Section):
    """The audit log."""

    to: Annotated[str, PlainValidator(_parse_audit_to), WithJsonSchema(_TEXT)] = "stdout"
    """stdout, stderr, or the absolute path of a file, which is reopened on SIGUSR1 and on reload."""
    format: Literal["json", "console"] = "json"
    """json: one object a line. console: for the eye."""


class NetworkSettings(_Section):
    """The firewall and routing rules that bring packets to the daemon."""

    mark: Annotated[
        Mark, PlainValidator(_parse_mark), _WORD, WithJsonSchema({"type": "string", "pattern": "^[^/]+/[^/]+$"})
    ] = Mark(0x1000000, 0x1000000)
    """Mark of packets that are ours, as VALUE/MASK; bits outside the mask are left alone."""
    table: Annotated[int, PlainValidator(_parse_table), WithJsonSchema({"type": "integer", "minimum": 1})] = 5353
    """Number of a routing table of our own, which delivers marked packets locally."""
    on_daemon_down: Literal["block", "bypass"] = "block"
    """While nobody serves. block: sessions on helper ports do not pass. bypass (nft only): they pass as without us."""
    listen_port: Annotated[int, Field(ge=1024, le=65535)] = 50000
    """Port on 127.0.0.1 and ::1 where the rules hand sessions over."""


def _default_table() -> tuple[HelperEntry, ...]:
    """Every registered helper on its own ports."""
    ports = [(name, transport, port) for name, helper in REGISTRY.items() for transport, port in helper.ports]
    return tuple(
        HelperEntry(id=number, name=name, protocol=transport, ports=(PortRange(port, port),))
        for number, (name, transport, port) in enumerate(ports, start=1)
    )


class File(_Section):
    """The configuration file of pinhole."""

    version: Literal[1] = 1
    """Version of this format."""
    helpers: tuple[HelperEntry, ...] = Field(default_factory=_default_table, validation_alias="session-helpers")
    """The session-helper table. Left out: every helper on its usual ports."""
    policies: tuple[Policy, ...]
    """First match wins, no match is a deny."""
    ports: Annotated[PortRange, PlainValidator(_parse_pool), _WORD, WithJsonSchema(_TEXT)] = PortRange(40000, 59999)
    """Range of the ports that are opened on our own addresses, and of those announced under NAT."""
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    audit: Audit = Audit()
    control: Annotated[str, PlainValidator(_parse_socket_path), WithJsonSchema(_PATH)] = "/run/pinhole/control.sock"
    """UNIX socket where `pinhole sessions`, `reload` and the like reach the daemon."""
    network: NetworkSettings = NetworkSettings()


class Config(File):
    """A configuration in force: the keys of the file, and where they came from."""

    source: str = "built-in default"
    """Name of the file."""


def default() -> Config:
    """The built-in configuration: private networks may go anywhere, no NAT, every helper on its usual ports."""
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918; RFC 4193
    return Config(policies=(Policy(name="private", sources=tuple(map(ip_network, private)), accept=True),))
