"""The configuration: what the YAML file may say, as frozen values.

The classes below are schema, defaults and manual at once: a field's name (or its alias) is the key in the file, the
string under it is what `pinhole config schema` prints. `load` reads a file and reports all that is wrong, together.

    text --yaml_marks--> plain values + where each stood --pydantic--> Config --config_checks--> Config | ConfigError

Values come out of YAML as a JSON document would hold them and are checked strictly: "21" is not 21, "true" no boolean.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from protocols import HELPERS
from protocols.contract.engine import Helper, Host, Network, Seconds, Transport
from proxy.config import checks as config_checks
from proxy.config import marks as yaml_marks
from proxy.config.values import (
    Dnat,
    Mark,
    PortRange,
    one_or_many,
    parse_action,
    parse_audit_to,
    parse_dnat,
    parse_interface,
    parse_mark,
    parse_name,
    parse_network,
    parse_pool,
    parse_ports,
    parse_protocol,
    parse_route_mark,
    parse_snat,
    parse_socket_path,
    parse_table,
    parse_user,
    ports_or_many,
)
from proxy.errors import ConfigError

__all__ = ["Audit", "Config", "Dnat", "HelperEntry", "Limits", "Mark", "NetworkSettings", "Policy", "PortRange"]
__all__ += ["REGISTRY", "SYSTEM_PATH", "Timeouts", "default", "in_force", "json_schema", "load"]

REGISTRY: Mapping[str, Helper] = HELPERS
"""The helpers that exist, by name."""

SYSTEM_PATH = Path("/etc/pinhole/pinhole.yaml")
"""Where the configuration is when the command line names none."""

_MAX_FILE_BYTES = 4 << 20
"""Reading YAML takes seconds a megabyte; a table of thousands of policies has some hundred kilobytes."""

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


_Ports = Annotated[PortRange, PlainValidator(parse_ports), _WORD]
_Network = Annotated[Network, PlainValidator(parse_network)]
_Interface = Annotated[str, PlainValidator(parse_interface)]
_Name = Annotated[str, PlainValidator(parse_name), WithJsonSchema({**_TEXT, "minLength": 1, "maxLength": 63})]
_Any = BeforeValidator(one_or_many)
_Positive = Annotated[int, Field(ge=1, le=10_000_000)]
_Seconds = Annotated[float, Field(gt=0, le=604_800)]


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
    protocol: Annotated[Transport, PlainValidator(parse_protocol), WithJsonSchema({"enum": ["tcp", "udp", 6, 17]})]
    """tcp or udp, or as FortiOS writes them, 6 or 17."""
    ports: Annotated[tuple[_Ports, ...], BeforeValidator(ports_or_many), WithJsonSchema(_many(_PORT_SCHEMA))] = Field(
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
    accept: Annotated[bool, PlainValidator(parse_action), WithJsonSchema({"enum": ["accept", "deny"]})] = Field(
        validation_alias="action"
    )
    """accept: take the session over. deny: reset it (TCP) or drop it (UDP)."""
    snat: Annotated[
        Literal["none", "interface"] | tuple[Host, ...],
        PlainValidator(parse_snat),
        WithJsonSchema(_many(_TEXT)),
    ] = "none"
    """Whom the server sees. none: the client itself. interface: the address that the route to the server would use.
    Otherwise an address or a list of them; a client always gets the same one."""
    dnat: Annotated[Dnat, PlainValidator(parse_dnat), _WORD, WithJsonSchema(_TEXT)] | None = None
    """Dial this ADDRESS or ADDRESS:PORT instead of what the client dialled: publishes an inside server."""
    route_mark: (
        Annotated[int, PlainValidator(parse_route_mark), WithJsonSchema({"type": ["integer", "string"]})] | None
    ) = None
    """Mark of all packets to the server, for routing rules that choose the way by it (`ip rule add fwmark ...`).
    `snat: interface` is then the address of that way."""
    options: _OptionsByName = Field(default_factory=lambda: _options_by_name(_Options()))
    """Options of each helper for sessions of this policy."""


class Limits(_Section):
    """How much there may be at once. Beyond it a session is refused, or a pinhole answered in its own protocol."""

    sessions: _Positive = 20_000
    """Sessions in all. Each takes two descriptors and some 60 KiB. Half of them are kept for each helper and direction
    alike, so that none takes all; UDP sessions that nothing depends on give way to new ones."""
    sessions_per_client: _Positive = 200
    """Sessions of one client."""
    client_prefix_ipv6: Annotated[int, Field(ge=32, le=128)] = 64
    """So many bits of an IPv6 address tell one client from another: a host mostly has a whole /64 of addresses. Where
    many clients share a /64, raise the limits for each client, or this to 128."""
    pinholes: _Positive = 100_000
    """Pinholes in all, kept for helpers and directions as sessions are."""
    pinholes_per_session: _Positive = 64
    """Pinholes of one session."""
    pinholes_per_client: _Positive = 1000
    """Pinholes of all sessions of one client address, also of those that have ended before their transfers. A call with
    audio takes two: behind one address that is 500 calls."""


class Timeouts(_Section):
    """Seconds. How long a session may be silent is an option of its helper."""

    pinhole_open: _Seconds = 60
    """From the agreement to the first use of a pinhole; FTP needs at least 30."""
    connect: _Seconds = 10
    """For the server to answer when it is dialled."""
    half_closed: _Seconds = 60
    """For the second side to end after the first has."""
    udp_idle: _Seconds = 180
    """Without a datagram, until a UDP session is over; those of SIP phones send one every 30 or so."""
    udp_unanswered: _Seconds = 32
    """The same while the server has not answered at all. SIP repeats a request for so long (RFC 3261: timers B, F)."""
    silent: Seconds = 2_592_000
    """Without a byte, of a TCP session or data connection that is relayed unread while both of its ends answer
    keep-alives: pools are silent over holidays, and transfers behind TLS take hours. The helper's `idle` is for those
    of which one end does not."""
    drain: _Seconds = 30
    """For transfers of TCP to end when the daemon is stopped; then they are cut. Calls end at once."""


class Audit(_Section):
    """The audit log."""

    to: Annotated[str, PlainValidator(parse_audit_to), WithJsonSchema(_TEXT)] = "stdout"
    """stdout, stderr, or the absolute path of a file, which is reopened on SIGUSR1 and on reload."""
    format: Literal["json", "console"] = "json"
    """json: one object a line. console: for the eye."""

    @property
    def is_file(self) -> bool:
        return self.to not in ("stdout", "stderr")


class NetworkSettings(_Section):
    """The firewall and routing rules that bring packets to the daemon."""

    mark: Annotated[
        Mark, PlainValidator(parse_mark), _WORD, WithJsonSchema({"type": "string", "pattern": "^[^/]+/[^/]+$"})
    ] = Mark(0x1000000, 0x1000000)
    """Mark of packets that are ours, as VALUE/MASK; bits outside the mask are left alone."""
    table: Annotated[int, PlainValidator(parse_table), WithJsonSchema({"type": "integer", "minimum": 1})] = 5353
    """Number of a routing table of our own, which delivers marked packets locally."""
    on_daemon_down: Literal["block", "bypass"] = "block"
    """While nobody serves. block: sessions on helper ports do not pass. bypass (nft only): they pass as without us."""
    max_segment: Annotated[int, Field(ge=536, le=32767)] | None = None
    """Most bytes in a TCP segment, told to both sides of each session and data connection, and kept to: for paths whose
    routers drop what is too long without a word. Clamps in a forward chain do not see these connections."""
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
    ports: Annotated[PortRange, PlainValidator(parse_pool), _WORD, WithJsonSchema(_TEXT)] = PortRange(40000, 59999)
    """Range of the ports that are opened on our own addresses, and of those announced under NAT."""
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    audit: Audit = Audit()
    control: Annotated[str, PlainValidator(parse_socket_path), WithJsonSchema(_PATH)] = "/run/pinhole/control.sock"
    """UNIX socket where `pinhole sessions`, `reload` and the like reach the daemon."""
    user: Annotated[str, PlainValidator(parse_user), WithJsonSchema({"type": ["string", "integer"]})] | None = None
    """Who serves, once rules and routes are set up, when the daemon is started as root: the name or number of a user.
    Left out: `pinhole` if there is such a user, else a number that nobody has. It has two capabilities in any case."""
    network: NetworkSettings = NetworkSettings()

    @property
    def helper_ports(self) -> frozenset[int]:
        """Of the session-helper table: who comes to one of them comes for a session."""
        return frozenset(
            port for entry in self.helpers for ports in entry.ports for port in range(ports.first, ports.last + 1)
        )


class Config(File):
    """A configuration in force: the keys of the file, and where they came from."""

    source: str = "built-in default"
    """Name of the file."""


def default() -> Config:
    """The built-in configuration: private networks may go anywhere, no NAT, every helper on its usual ports."""
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918; RFC 4193
    return Config(policies=(Policy(name="private", sources=tuple(map(ip_network, private)), accept=True),))


def in_force(path: str | None, opener: Opener | None = None) -> Config:
    """The configuration for `-c PATH`; without one the system's, else the built-in. opener: who opens the file, if not
    this process itself. Raises ConfigError."""
    file = chosen(path)
    return load(file, opener) if file is not None else default()


def control_in_force(path: str | None) -> str:
    """Where the daemon with that configuration answers. Whatever else is wrong with its file does not matter: that is
    when one has to ask. Raises ConfigError when this cannot be known."""
    file = chosen(path)
    if file is None:
        return default().control
    document = _read(file)
    if isinstance(document.value, dict):
        own = {key: document.value[key] for key in ("control",) if key in document.value}
        with contextlib.suppress(ValidationError):
            return _validate({"policies": [], **own}).control
    return load(file).control


def chosen(path: str | None) -> str | None:
    """The file for `-c PATH`; None: the built-in configuration."""
    return path if path is not None else str(SYSTEM_PATH) if os.path.exists(SYSTEM_PATH) else None


Opener = Callable[[str, int], int]
"""As open() takes it: gives a descriptor for a path and flags."""


def load(path: str | Path, opener: Opener | None = None) -> Config:
    """Read a configuration file. Raises ConfigError with everything that is wrong with it, in the order of the file."""
    document = _read(path, opener)
    settings, problems = _examine(document)
    if problems or settings is None:
        raise ConfigError(yaml_marks.render(str(path), problems))
    return Config(**dict(settings), source=str(path))


def judge_places(path: str, settings: Config) -> None:
    """Whether files are where only those may put them who should. Raises ConfigError."""
    from proxy.config import places  # which knows this module

    document = _read(path)
    problems = [document.problem(location, text) for location, text in places.findings(settings, path)]
    if problems:
        raise ConfigError(yaml_marks.render(path, problems))


def _read(path: str | Path, opener: Opener | None = None) -> yaml_marks.Document:
    name = str(path)
    try:
        with open(path, "rb", opener=opener) as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{name}: cannot be read: {error.strerror}"]) from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError([f"{name}: larger than {_MAX_FILE_BYTES >> 20} MiB"])
    return yaml_marks.read(data)


def _examine(document: yaml_marks.Document) -> tuple[File | None, list[yaml_marks.Problem]]:
    problems = list(document.problems)
    if document.root is None:
        return None, problems or [document.problem((), "the file is empty; it needs `policies` at least")]
    if not isinstance(document.value, dict):
        return None, problems or [document.problem((), "expected keys and values, `policies: ...` at least")]
    broken: list[yaml_marks.Location] = []
    try:
        settings = _validate(document.value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += _problems(document, details)
        broken = [detail["loc"] for detail in details]
    # What stands in the way is set aside, so that the rest can still be judged as a whole.
    rest, indexes = _without(document.value, broken)
    try:
        settings = _validate(rest)
    except ValidationError:
        return None, problems
    incomplete = {location[0] for location in broken}
    complete_table = config_checks.ENTRIES not in incomplete
    for (section, *path), text in config_checks.findings(settings, REGISTRY, table_complete=complete_table):
        if not path and section in incomplete:
            continue  # it is empty because its elements were set aside
        if path and section in indexes:
            path[0] = indexes[str(section)][int(path[0])]
        problems.append(document.problem((section, *path), text))
    return settings, problems


def _validate(value: dict[str, Any]) -> File:
    """As JSON, because that is where pydantic is strict about types and yet takes lists, words and numbers for ours."""
    return File.model_validate_json(json.dumps(value), strict=True, by_alias=True, by_name=False)


def _without(
    value: dict[str, Any], broken: Sequence[yaml_marks.Location]
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The document without its broken list elements and sections, and where the elements that stay were."""
    rest: dict[str, Any] = {"policies": []}
    indexes: dict[str, list[int]] = {}
    elements = {location[:2] for location in broken if len(location) > 1}
    for key, section in value.items():
        if isinstance(section, list):
            indexes[key] = [index for index in range(len(section)) if (key, index) not in elements]
            section = [section[index] for index in indexes[key]]
        elif any(location[0] == key for location in broken):
            continue
        if (key,) not in broken:
            rest[key] = section
    return rest, indexes


def _problems(document: yaml_marks.Document, details: Sequence[ErrorDetails]) -> Iterator[yaml_marks.Problem]:
    """What pydantic found, in words for people.

    Where a key may be one thing or another, pydantic tells what is wrong with each of them, under locations with names
    of types in between. Those are one problem, at the place where the attempt that went deepest ended.
    """
    choices: dict[yaml_marks.Location, list[tuple[yaml_marks.Location, str]]] = {}
    for detail in details:
        location = detail["loc"]
        place = document.existing(location)
        if place == location or detail["type"] == "missing":
            yield _problem(document, detail)
        else:
            common = next(place[:n] for n in range(len(place) + 1) if place[: n + 1] != location[: n + 1])
            choices.setdefault(common, []).append((place, _words(detail)))
    for attempts in choices.values():
        deepest = max((place for place, _ in attempts), key=len)
        texts = dict.fromkeys(text for place, text in attempts if place == deepest)
        yield document.problem(deepest, ", or ".join(texts))


def _problem(document: yaml_marks.Document, detail: ErrorDetails) -> yaml_marks.Problem:
    location = detail["loc"]
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return document.problem(location, _unknown_key(location), at_key=True)
        case "value_error":
            # Options that check themselves say `key: what is wrong`.
            text = _words(detail)
            key, _, rest = text.partition(": ")
            if rest and document.existing((*location, key)) == (*location, key):
                return document.problem((*location, key), rest)
    return document.problem(location, _words(detail))


def _words(detail: ErrorDetails) -> str:
    given = detail["input"]
    match detail["type"]:
        case "missing":
            return "this key is missing"
        case "model_type" | "dataclass_type":
            return "expected keys and values"
        case "tuple_type":
            return "expected a list"
        case "pinhole":
            return detail["msg"]
        case "value_error" if re.search("IPv[46]Network", str(detail["loc"][-1])):
            # A network among a helper's options: pydantic has a complaint for each IP version, ours covers both.
            try:
                parse_network(given)
            except PydanticCustomError as error:
                return error.message()
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("Input is ")
    if text == detail["msg"] or detail["type"] == "value_error":
        return text.removeprefix("Value error, ")
    return f"must be {text}, not {given!r}" if isinstance(given, str | int | float) else f"must be {text}"


def _unknown_key(location: yaml_marks.Location) -> str:
    word = str(location[-1])
    if len(location) > 1 and location[-2] == "options":
        return config_checks.no_such_helper(word, REGISTRY)
    known = _keys_at(location[:-1])
    return f"unknown key{config_checks.suggest(word, known) or '; known here: ' + ', '.join(known)}"


def _keys_at(location: yaml_marks.Location) -> list[str]:
    """The keys that the schema has at a place."""
    schema = json_schema()

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        reference = node.get("$ref")
        return schema["$defs"][reference.rpartition("/")[2]] if reference else node

    node = schema
    for step in location:
        node = resolved(node["items"] if isinstance(step, int) else node["properties"][step])
    return list(node["properties"])


class _SchemaGenerator(GenerateJsonSchema):
    """Without titles, which only repeat the keys, and with the defaults as one writes them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Mark | PortRange) else super().encode_default(dft)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for editors and for the curious."""
    schema = File.model_json_schema(schema_generator=_SchemaGenerator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "pinhole configuration"}
