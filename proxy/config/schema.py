"""The configuration: what the YAML file may say, as frozen values.

The classes below are schema, defaults and manual at once: a field's name (or its alias) is the key in the file, the
string under it is what `pinhole config schema` prints.

Values come out of YAML as a JSON document would hold them and are checked strictly: "21" is not 21, "true" no boolean.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    GetPydanticSchema,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    create_model,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from protocols import HELPERS
from protocols.contract.addresses import Endpoint, Host, Transport
from protocols.contract.engine import Helper
from proxy.config.networks import parse_network_name
from proxy.config.recording import Audit
from proxy.config.section import Section as _Section
from proxy.config.strings import strings_under_fields
from proxy.config.values import (
    Dnat,
    Mark,
    PortRange,
    Target,
    as_socket,
    one_or_many,
    parse_action,
    parse_dnat,
    parse_group,
    parse_interface,
    parse_listen,
    parse_mark,
    parse_name,
    parse_pool,
    parse_ports,
    parse_protocol,
    parse_route_mark,
    parse_snat,
    parse_socket_path,
    parse_table,
    parse_target,
    parse_user,
    ports_or_many,
)
from proxy.config.whereabouts import CONTROL
from proxy.config.written import TEXT, LongSeconds, Networks, Seconds, Secret, many, options_model

REGISTRY: Mapping[str, Helper] = HELPERS
"""The helpers that exist, by name."""


_PORT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": r"^[0-9]{1,5}(\s*-\s*[0-9]{1,5})?$"},
    ]
}
_WORD = PlainSerializer(str)
_PATH: dict[str, Any] = {"type": "string", "pattern": "^/"}


_Ports = Annotated[PortRange, PlainValidator(parse_ports), _WORD]
_Interface = Annotated[str, PlainValidator(parse_interface)]
_Name = Annotated[str, PlainValidator(parse_name), WithJsonSchema({**TEXT, "minLength": 1, "maxLength": 63})]
_Any = BeforeValidator(one_or_many)
_Positive = Annotated[int, Field(ge=1, le=10_000_000)]


_option_fields: dict[str, Any] = {
    name: (options_model(helper.options, _Section.model_config), Field(default_factory=helper.options))
    for name, helper in REGISTRY.items()
}
_Options = create_model(
    "Options",
    __config__=_Section.model_config,
    __doc__="What each helper lets an operator choose.",
    **_option_fields,
)


def _options_by_name(options: BaseModel) -> dict[str, Any]:
    """The options as a mapping from helper to options."""
    return {name: getattr(options, name) for name in type(options).model_fields}


_OptionsByName = Annotated[
    Mapping[str, Any],
    GetPydanticSchema(
        lambda _, handler: core_schema.no_info_after_validator_function(
            _options_by_name, handler.generate_schema(_Options)
        )
    ),
]


class HelperEntry(_Section):
    """A line of the session-helper table: which helper reads sessions to which port."""

    id: Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
    """Number of the entry, as in FortiOS. Each number occurs once."""
    name: str
    """The helper. Several entries may name the same one."""
    protocol: Annotated[Transport, PlainValidator(parse_protocol), WithJsonSchema({"enum": ["tcp", "udp", 6, 17]})]
    """tcp or udp, or as FortiOS writes them, 6 or 17."""
    ports: Annotated[tuple[_Ports, ...], BeforeValidator(ports_or_many), WithJsonSchema(many(_PORT_SCHEMA))] = Field(
        validation_alias="port"
    )
    """Destination port, a range FIRST-LAST, or a list of both."""
    enabled: bool = True
    """false: the entry is listed but off, and sessions to its ports pass as if it were not there."""


class Policy(_Section):
    """Which sessions are let through, and under which address. The first policy that matches a session decides about
    it. A session that no policy matches is denied."""

    name: _Name
    """Name of the policy in the audit log."""
    interfaces: Annotated[tuple[_Interface, ...], _Any, WithJsonSchema(many(TEXT))] = Field(
        default=(), validation_alias="from"
    )
    """Interfaces by which the session comes in. Left out: any."""
    sources: Networks = Field(default=(), validation_alias="source")
    """Networks of the client, or names of `networks`. Left out, or `any`: any."""
    destinations: Networks = Field(default=(), validation_alias="destination")
    """Networks of the address that the client dials, or names of `networks`. Left out, or `any`: any."""
    helpers: Annotated[tuple[str, ...], _Any, WithJsonSchema(many(TEXT))] = ()
    """Helpers that the policy is for. Left out, or `any`: any."""
    accept: Annotated[bool, PlainValidator(parse_action), WithJsonSchema({"enum": ["accept", "deny"]})] = Field(
        validation_alias="action"
    )
    """accept: take the session over. deny: reset it (TCP) or drop it (UDP)."""
    snat: Annotated[
        Literal["none", "interface"] | tuple[Host, ...],
        PlainValidator(parse_snat),
        WithJsonSchema(many(TEXT)),
    ] = "none"
    """Client address that the server sees. none: the client's own. interface: the address that the route to the server
    would use. Otherwise an address or a list of them; a client always gets the same one."""
    dnat: Annotated[Dnat, PlainValidator(parse_dnat), _WORD, WithJsonSchema(TEXT)] | None = None
    """Dial this ADDRESS or ADDRESS:PORT instead of the address that the client dialled. This publishes an inside
    server."""
    route_mark: (
        Annotated[int, PlainValidator(parse_route_mark), WithJsonSchema({"type": ["integer", "string"]})] | None
    ) = None
    """Mark of all packets to the server, for routing rules that choose the way by a mark (`ip rule add fwmark ...`).
    `snat: interface` then uses the address of that way."""
    options: _OptionsByName = Field(default_factory=lambda: _options_by_name(_Options()))
    """Options of each helper for sessions of this policy."""


class Limits(_Section):
    """How much there may be at once. Beyond a limit a session is refused, and a pinhole is refused in the words of its
    protocol."""

    sessions: _Positive = 20_000
    """Sessions in all. Each takes two descriptors and some 60 KiB. Half of the limit is kept for helpers and
    directions, in equal parts, so that none of them takes all; UDP sessions that nothing depends on give way to new
    ones."""
    sessions_per_client: _Positive = 200
    """Sessions of one client."""
    client_prefix_ipv6: Annotated[int, Field(ge=32, le=128)] = 64
    """How many bits of an IPv6 address tell one client from another: a host mostly has a whole /64 of addresses. Where
    many clients share a /64, raise the limits for each client, or this to 128."""
    pinholes: _Positive = 100_000
    """Pinholes in all, kept for helpers and directions as sessions are."""
    pinholes_per_session: _Positive = 64
    """Pinholes of one session."""
    pinholes_per_client: _Positive = 1000
    """Pinholes of all sessions of one client address, including sessions that ended before their transfers. A call with
    audio takes two: behind one address that is 500 calls."""


class Timeouts(_Section):
    """Times in seconds, or with a unit, as 3m. How long a session may be silent is an option of its helper."""

    pinhole_open: Seconds = 60
    """Time from the agreement to the first use of a pinhole. FTP needs at least 30."""
    connect: Seconds = 10
    """Time for the server to answer when it is dialled."""
    half_closed: Seconds = 60
    """Time for the second side to end after the first side has ended."""
    udp_idle: Seconds = 180
    """Time without a datagram until a UDP session is over, unless its helper ends it sooner. SIP phones send one every
    30 seconds or so."""
    udp_unanswered: Seconds = 32
    """Time without a datagram while the server has never answered. SIP repeats a request for so long (RFC 3261: timers
    B, F)."""
    silent: LongSeconds = 2_592_000
    """Time without a byte for a TCP session or data connection that is relayed unread while both of its ends answer
    keep-alives: pools are silent over holidays, and transfers behind TLS take hours. The helper's `idle` applies when
    one end does not answer."""
    drain: Seconds = 30
    """Time for transfers to end when the daemon is stopped; then they are cut. Transfers by datagrams end only by
    silence. Calls end at once."""


def _or_a_path(schema: dict[str, Any]) -> None:
    """A path stands for a socket there."""
    schema["anyOf"] = [_PATH, {"$ref": schema.pop("$ref")}]


class ControlSocket(_Section):
    """The UNIX socket of the command line and of other programs. A plain path stands for `{path: PATH}`: then its owner
    and its group may look and change."""

    path: Annotated[str, PlainValidator(parse_socket_path), WithJsonSchema(_PATH)] = CONTROL
    """Where it is."""
    look: Annotated[str, PlainValidator(parse_group), WithJsonSchema({"type": ["string", "integer"]})] | None = None
    """The group whose members may look at everything. With one of the two groups everybody may open the socket, and the
    daemon judges who asks. Left out: the daemon's own group."""
    change: Annotated[str, PlainValidator(parse_group), WithJsonSchema({"type": ["string", "integer"]})] | None = None
    """The group whose members may also change: reload, close, throw switches, trace. Left out: root and the daemon's
    user alone."""

    @property
    def is_for_group(self) -> bool:
        """Whether only the owner and the group of the socket may open it."""
        return self.look is None and self.change is None


class Measured(_Section):
    """Where others read how the daemon does. The control socket has the same pages: `/metrics` for Prometheus,
    `/healthz` and `/readyz`."""

    listen: (
        Annotated[Endpoint, PlainValidator(parse_listen), _WORD, WithJsonSchema({"type": ["string", "integer"]})] | None
    ) = None
    """ADDRESS:PORT of this host, or a port of loopback, as 9467. Left out: none. Whoever reaches the address may read
    the numbers, so it is one of loopback, or the firewall says who that is."""


class Hep(_Section):
    """A collector of messages, as Homer or sngrep: each SIP message is copied to it, as it came and as it went on. The
    messages have all that was said in them, identities and keys of media as well, and go in clear."""

    to: Annotated[Target, PlainValidator(parse_target), _WORD, WithJsonSchema(TEXT)] | None = None
    """HOST:PORT of the collector, which listens to HEP over UDP. Left out: nothing is copied."""
    id: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] = 1
    """The number by which the collector knows this gateway."""
    password: Secret | None = None
    """The key that the collector asks for, if it does."""


class NetworkSettings(_Section):
    """The firewall and routing rules that bring packets to the daemon."""

    backend: Literal["nft", "iptables"] | None = None
    """The kind of firewall rules. Left out: the kind that stands already; where none does, nft, or iptables without an
    nft. `--backend` of a command wins."""
    mark: Annotated[
        Mark, PlainValidator(parse_mark), _WORD, WithJsonSchema({"type": "string", "pattern": "^[^/]+/[^/]+$"})
    ] = Mark(0x1000000, 0x1000000)
    """Mark of the packets that are delivered to the daemon, as VALUE/MASK. Bits outside the mask are left alone."""
    table: Annotated[int, PlainValidator(parse_table), WithJsonSchema({"type": "integer", "minimum": 1})] = 5353
    """Number of a routing table of our own, which delivers marked packets locally."""
    on_daemon_down: Literal["block", "bypass"] = "block"
    """What happens while the daemon is not running. block: sessions on helper ports do not pass. bypass (nft only):
    they pass as they would without pinhole."""
    max_segment: Annotated[int, Field(ge=536, le=32767)] | None = None
    """Largest number of bytes in a TCP segment, announced to both sides of each session and data connection, and kept
    to. It is for paths whose routers silently drop packets that are too long. Clamps in a forward chain do not see
    these connections."""
    listen_port: Annotated[int, Field(ge=1024, le=65535)] = 50000
    """Port on 127.0.0.1 and ::1 to which the rules hand sessions over."""
    fastpath: Literal["auto", "off", "require"] = "auto"
    """auto: media passes in the kernel where it can, if `pinhole fastpath` runs. It meets no firewall rule there and no
    connection tracking. off: all media passes the daemon. require: the daemon does not start without it."""
    fastpath_interfaces: Annotated[tuple[_Interface, ...], _Any, WithJsonSchema(many(TEXT))] = ()
    """Interfaces by which media comes that may pass in the kernel. Left out, or `any`: all."""


def _default_table() -> tuple[HelperEntry, ...]:
    """Every registered helper on its own ports."""
    return default_table(REGISTRY)


def default_table(registry: Mapping[str, Helper]) -> tuple[HelperEntry, ...]:
    """An entry for each port of each helper. Ports that a helper has off are off."""
    ports = [(helper, transport, port) for helper in registry.values() for transport, port in helper.ports]
    return tuple(
        HelperEntry(
            id=number,
            name=helper.name,
            protocol=transport,
            ports=(PortRange(port, port),),
            enabled=(transport, port) not in helper.off,
        )
        for number, (helper, transport, port) in enumerate(ports, start=1)
    )


class File(_Section):
    """The configuration file of pinhole."""

    version: Literal[1] = 1
    """Version of this format."""
    helpers: tuple[HelperEntry, ...] = Field(default_factory=_default_table, validation_alias="session-helpers")
    """The session-helper table. Left out: every helper on its usual ports, except for entries that are off."""
    networks: Mapping[Annotated[str, PlainValidator(parse_network_name)], Networks] = Field(default_factory=dict)
    """Names for networks, as {lan: [10.1.0.0/16, "fd01::/48"]}. A name may stand wherever a network is named, also
    here."""
    policies: tuple[Policy, ...]
    """The policies. The first one that matches a session decides; a session that none matches is denied."""
    ports: Annotated[PortRange, PlainValidator(parse_pool), _WORD, WithJsonSchema(TEXT)] = PortRange(40000, 59999)
    """Range of the ports that are opened on our own addresses, and of the ports announced under NAT."""
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    audit: Audit = Audit()
    metrics: Measured = Measured()
    hep: Hep = Hep()
    control: Annotated[ControlSocket, BeforeValidator(as_socket), Field(json_schema_extra=_or_a_path)] = ControlSocket()
    """UNIX socket where `pinhole sessions`, `reload` and the like reach the daemon."""
    user: Annotated[str, PlainValidator(parse_user), WithJsonSchema({"type": ["string", "integer"]})] | None = None
    """The user that serves, by name or number, after root has started the daemon and set up rules and routes. Left out:
    `pinhole` if there is such a user, otherwise a number that no user has. The daemon keeps two capabilities in any
    case."""
    network: NetworkSettings = NetworkSettings()

    @property
    def served(self) -> tuple[HelperEntry, ...]:
        """The entries of the session-helper table that are not off."""
        return tuple(entry for entry in self.helpers if entry.enabled)

    @property
    def helper_ports(self) -> frozenset[int]:
        """The ports of the session-helper table. A peer that comes to one of them comes for a session."""
        return frozenset(
            port for entry in self.served for ports in entry.ports for port in range(ports.first, ports.last + 1)
        )

    @property
    def on_reserved_ports(self) -> list[str]:
        """The helpers of the table that dial from ports which only a privileged process can bind."""
        return list(dict.fromkeys(entry.name for entry in self.served if REGISTRY[entry.name].reserved_source))


class Config(File):
    """A configuration in force: the keys of its files, and what was found when they were read."""

    source: str = "built-in default"
    """Name of the main file."""
    warnings: tuple[str, ...] = ()
    """What in the files is allowed, and yet will hardly do what somebody wants. A line each."""
    policy_places: tuple[str, ...] = ()
    """Where each policy stands, as `file:line`. Empty for the built-in configuration."""


class _SchemaGenerator(GenerateJsonSchema):
    """Makes the JSON Schema without titles, which only repeat the keys, and with defaults as one writes them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Mark | PortRange) else super().encode_default(dft)

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        """A section. The options of helpers are models, too, which have their descriptions already."""
        made, cls = super().model_schema(schema), schema["cls"]
        if issubclass(cls, _Section):
            texts = strings_under_fields(cls)
            for name, field in cls.model_fields.items():
                if name in texts:
                    made["properties"][field.validation_alias or name].setdefault("description", texts[name])
        return made

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> dict[str, Any]:
        """The options of a helper. Pydantic before 2.11 says these things of its own models alone."""
        made = super().dataclass_schema(schema)
        made.setdefault("additionalProperties", False)
        made.setdefault("description", inspect.cleandoc(schema["cls"].__doc__ or ""))
        for name, text in strings_under_fields(schema["cls"]).items():
            made["properties"][name].setdefault("description", text)
        return made


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for editors and for readers."""
    schema = File.model_json_schema(schema_generator=_SchemaGenerator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "pinhole configuration"}
