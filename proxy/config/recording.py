"""The section `audit`: where the audit log goes, in which form, and what it must tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from proxy.config.section import Section
from proxy.config.values import parse_name, parse_path, wrong
from proxy.config.written import TEXT, Seconds
from proxy.record.syslog import Collector

Form = Literal["json", "console", "ecs", "cef"]
_JSON = ("json", "ecs")
"""The forms that a chain of hashes can be put into."""

_STREAMS = ("stdout", "stderr")
_PLACES = (*_STREAMS, "journal", "syslog", "file")


def parse_to(value: Any) -> str:
    """A place that the log is written to: one of our words, or a file's path."""
    if value in _PLACES:
        return str(value)
    if isinstance(value, str) and value.startswith("/"):
        return parse_path(value)
    raise wrong("expected stdout, stderr, journal, syslog, or the absolute path of a file")


def parse_collector(value: Any) -> Collector:
    """Where syslog is collected."""
    if isinstance(value, Collector):
        return value
    text = str(value)
    if found := re.fullmatch(r"(?:unix://)?(/[^\0]{1,106})", text):
        return Collector("unix", found[1])
    found = re.fullmatch(r"(udp|tcp)://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]{1,253}))(?::([0-9]{1,5}))?", text)
    port = int(found[4] or 514) if found is not None else 0
    if found is None or not 0 < port < 65536:
        raise wrong("expected a path as /dev/log, udp://HOST:PORT or tcp://HOST:PORT, with IPv6 as [ADDRESS]")
    return Collector("tcp" if found[1] == "tcp" else "udp", found[2] or found[3], port)


_To = Annotated[str, PlainValidator(parse_to), WithJsonSchema(TEXT)]
_Path = Annotated[str, PlainValidator(parse_path), WithJsonSchema({**TEXT, "pattern": "^/"})]
_Collector = Annotated[Collector, PlainValidator(parse_collector), PlainSerializer(str), WithJsonSchema(TEXT)]
_Node = Annotated[str, PlainValidator(parse_name), WithJsonSchema({**TEXT, "minLength": 1, "maxLength": 63})]


class SinkSettings(Section):
    """One place that the log is written to. None of them waits for another one."""

    to: _To
    """stdout, stderr, journal, syslog, or the absolute path of a file; `file` stands for `path`."""
    path: _Path | None = None
    """The absolute path of a file, where `to` is `file`."""
    server: _Collector | None = None
    """Where syslog is collected, where `to` is `syslog`: the path of a UNIX socket, udp://HOST:PORT or
    tcp://HOST:PORT. Left out: /dev/log."""
    facility: Literal[
        "daemon", "auth", "authpriv", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
    ] = "daemon"
    """The facility of syslog."""
    format: Form | None = None
    """json: one object a line. console: lines for people. ecs: JSON by the names of the Elastic Common Schema. cef:
    ArcSight's Common Event Format. Left out: json; console on a terminal, and as the message of an entry of the
    journal."""
    chain: bool | None = None
    """true: each line has a hash of itself and of the line before, so that `pinhole audit verify` finds what was
    changed or removed. It needs json or ecs. Left out: as `audit: chain` says."""

    @model_validator(mode="after")
    def _is_whole(self) -> SinkSettings:
        if (self.to == "file") != (self.path is not None):
            raise wrong("`path` is for `to: file`, which needs it")
        if self.server is not None and self.to != "syslog":
            raise wrong("`server` is for `to: syslog`")
        if self.chain and self.format not in (None, *_JSON):
            raise wrong("a chain needs `format: json` or `format: ecs`")
        return self

    @property
    def file(self) -> str | None:
        """The path of the file. None: the log goes elsewhere."""
        return self.path if self.to == "file" else self.to if self.to.startswith("/") else None

    def is_chained(self, usually: bool) -> bool:
        """Whether the lines have hashes. `usually`: what the section says for all."""
        may_be = self.format in (None, *_JSON) and self.to != "journal"
        return may_be and (usually if self.chain is None else self.chain)


class Audit(Section):
    """The audit log. `to`, `format` and `chain` are for one place; `sinks` names further ones."""

    MEANT_IF_SET: ClassVar[frozenset[str]] = frozenset({"to", "format"})
    """Keys whose default is not the same as their absence."""

    to: _To = "stdout"
    """stdout, stderr, journal, syslog, or the absolute path of a file, which is reopened on SIGUSR1, on reload, and
    when another one has its name. With `sinks` and without this, the log goes to those alone."""
    format: Form = "json"
    """json: one object a line. console: lines for people; also the default on a terminal. ecs: JSON by the names of the
    Elastic Common Schema. cef: ArcSight's Common Event Format."""
    chain: bool = False
    """true: each line has a hash of itself and of the line before, so that `pinhole audit verify` finds what was
    changed or removed. For all places whose form is json or ecs, unless they say otherwise."""
    sinks: tuple[SinkSettings, ...] = ()
    """Further places that the log is written to."""
    required: bool = False
    """true: no session begins while the log can be written nowhere (`audit_unavailable`). What has begun goes on."""
    node: _Node | None = None
    """The name of this gateway, which stands in every line. Left out: the name of the host."""
    progress: Seconds | None = None
    """How often a line tells what has passed so far through a pinhole that stands for long. Left out: never."""

    @model_validator(mode="after")
    def _has_each_file_once(self) -> Audit:
        if self.to == "file":
            raise wrong("name the file: `to: /var/log/pinhole/audit.log`")
        files = [path for _, path in self.files]
        if double := next((path for path in files if files.count(path) > 1), None):
            raise wrong(f"two sinks write to {double}")
        return self

    @property
    def places(self) -> tuple[SinkSettings, ...]:
        """Every place that the log is written to."""
        return tuple(place for _, place in self._located())

    @property
    def files(self) -> tuple[tuple[tuple[str | int, ...], str], ...]:
        """The files among them, each with the key that names it."""
        return tuple((where, place.file) for where, place in self._located() if place.file is not None)

    @property
    def readable(self) -> str | None:
        """The first file whose lines can be read again by a program. None: there is none."""
        in_json = (place.file for place in self.places if place.file is not None and place.format in (None, "json"))
        return next(in_json, None)

    def _located(self) -> Iterator[tuple[tuple[str | int, ...], SinkSettings]]:
        if "to" in self.model_fields_set or not self.sinks:
            form = self.format if "format" in self.model_fields_set else None
            yield ("audit", "to"), SinkSettings.model_construct(to=self.to, format=form)
        for number, sink in enumerate(self.sinks):
            yield ("audit", "sinks", number, "path" if sink.to == "file" else "to"), sink
