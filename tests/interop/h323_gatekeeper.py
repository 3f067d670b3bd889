"""A gatekeeper for H.323, by a script: no package of Debian has one. What it says is written by pycrate, and follows
what gatekeepers say in captures (`h323/ndpi-h225-h245.pcap`) and H.225.0 s.7.

Direct: endpoints are told where each other's call signalling is. Routed: all call signalling comes to the gatekeeper,
which passes the octets on, as it does where media is not its own affair.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Literal

from protocols.h323 import wire
from protocols.toolbox.packets import Packets
from tests.harness.h323_oracle import NO_UUIES, VERSION, At, Unreadable, decoded, encoded, kind, transport
from tools.lab import Host
from tools.peers.asterisk import PORT, SECONDS, Address

RAS_PORT = 1719
REACHED_SECONDS = 4
"""How long a callee may take to be reached. Nobody else is heard meanwhile."""
IDENTIFIER = "gatekeeper of the lab"
Model = Literal["direct", "gatekeeperRouted"]
Heard = tuple[str, dict[str, Any], At]
"""What was said, what it holds, and where it came from."""


def _at(address: tuple[str, dict[str, Any]]) -> At:
    return str(ip_address(address[1]["ip"])), address[1]["port"]


def _numbers(request: dict[str, Any]) -> list[str]:
    """Under which an endpoint wants to be called."""
    return [alias for kind, alias in request.get("terminalAlias", ()) if kind == "dialledDigits"]


class Gatekeeper:
    """One that serves, in a thread of its own."""

    def __init__(self, host: Host, address: Address, model: Model, life: int) -> None:
        self.heard: list[Heard] = []
        self.registered: dict[str, At] = {}
        """Number -> where its calls go."""
        self._of: dict[str, tuple[list[str], At]] = {}
        """Identifier of an endpoint -> its numbers, and where it hears RAS."""
        for name in ("Ras", "UserInformation"):
            kind(name)  # this takes seconds, and endpoints that are not answered wait for fifteen
        self.address = address
        self._own = str(address), PORT
        self._model, self._life = model, life
        self._ended: set[str] = set()
        """Numbers that may not register any more."""
        self._number = 5000
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with host.inside():
            self._ras = socket.socket(family, socket.SOCK_DGRAM)
            self._ras.bind((str(address), RAS_PORT))
            self._listener = socket.create_server(self._own, family=family)
        self._host = host
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self._ras, selectors.EVENT_READ, self._read)
        self._waiting.register(self._listener, selectors.EVENT_READ, self._accept)
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while not self._is_over:
            for key, _ in self._waiting.select(0.05):
                if key.fd in self._waiting.get_map():  # no call before it has closed it
                    key.data(key.fileobj)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Gatekeeper]:
        self._thread.start()
        try:
            yield self
        finally:
            self._is_over = True
            self._thread.join()
            for key in list(self._waiting.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
            self._waiting.close()

    def count(self, kind: str) -> int:
        """How many such messages have come."""
        return sum(one[0] == kind for one in list(self.heard))

    def wait_for(self, kind: str, count: int = 1) -> Heard:
        """The newest such message, when it has come so often. Raises TimeoutError."""
        end = time.monotonic() + SECONDS
        while len(found := [one for one in list(self.heard) if one[0] == kind]) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{kind} did not come {count} times: {[one[0] for one in self.heard]}")
            time.sleep(0.02)
        return found[-1]

    # -- RAS -----------------------------------------------------------------------------------------------------------

    def _read(self, ras: socket.socket) -> None:
        data, source = ras.recvfrom(65535)
        try:
            kind, value = decoded("Ras", data)
        except Unreadable:
            return
        at = source[0], source[1]
        answer = getattr(self, f"_{kind}", None)
        said = answer(value, at) if answer else None
        self.heard.append((kind, value, at))
        if said is not None:
            self._say(said, at)

    def _say(self, message: tuple[str, dict[str, Any]], to: At) -> None:
        self._ras.sendto(encoded("Ras", message), to)

    def _gatekeeperRequest(self, value: dict[str, Any], at: At) -> tuple[str, dict[str, Any]]:
        own = transport((self._own[0], RAS_PORT))
        head = {"requestSeqNum": value["requestSeqNum"], "protocolIdentifier": VERSION}
        return "gatekeeperConfirm", head | {"gatekeeperIdentifier": IDENTIFIER, "rasAddress": own}

    def _registrationRequest(self, value: dict[str, Any], at: At) -> tuple[str, dict[str, Any]]:
        identifier = value.get("endpointIdentifier", f"endpoint {len(self._of) + 1}")
        known = self._of.get(identifier, ([], at))[0]
        if (not known and not value["callSignalAddress"]) or self._ended & set(known or _numbers(value)):
            return self._refuse(value)
        if value["callSignalAddress"]:
            numbers = _numbers(value)
            self._of[identifier] = numbers, at
            self.registered |= dict.fromkeys(numbers, _at(value["callSignalAddress"][0]))
        confirm = {
            "requestSeqNum": value["requestSeqNum"],
            "protocolIdentifier": VERSION,
            "callSignalAddress": [transport(self._own)] if self._model == "gatekeeperRouted" else [],
            "gatekeeperIdentifier": IDENTIFIER,
            "endpointIdentifier": identifier,
            "timeToLive": self._life,
            "willRespondToIRR": False,
            "maintainConnection": False,
        }
        return "registrationConfirm", confirm

    def _refuse(self, value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        reject = {
            "requestSeqNum": value["requestSeqNum"],
            "protocolIdentifier": VERSION,
            "rejectReason": ("securityDenial", 0),
            "gatekeeperIdentifier": IDENTIFIER,
        }
        return "registrationReject", reject

    def _admissionRequest(self, value: dict[str, Any], at: At) -> tuple[str, dict[str, Any]]:
        number = next((alias for kind, alias in value.get("destinationInfo", ()) if kind == "dialledDigits"), "")
        target = self.registered.get(number)
        if target is None and not value["answerCall"]:
            refused = {"requestSeqNum": value["requestSeqNum"], "rejectReason": ("calledPartyNotRegistered", 0)}
            return "admissionReject", refused
        confirm = {
            "requestSeqNum": value["requestSeqNum"],
            "bandWidth": value["bandWidth"],
            "callModel": (self._model, 0),
            "destCallSignalAddress": transport(target if target and self._model == "direct" else self._own),
            "willRespondToIRR": False,
            "uuiesRequested": NO_UUIES,
        }
        return "admissionConfirm", confirm

    def _disengageRequest(self, value: dict[str, Any], at: At) -> tuple[str, dict[str, Any]]:
        return "disengageConfirm", {"requestSeqNum": value["requestSeqNum"]}

    def _unregistrationRequest(self, value: dict[str, Any], at: At) -> tuple[str, dict[str, Any]]:
        self._forget(value.get("endpointIdentifier", ""))
        return "unregistrationConfirm", {"requestSeqNum": value["requestSeqNum"]}

    def _forget(self, identifier: str) -> At | None:
        numbers, at = self._of.pop(identifier, ([], None))
        for number in numbers:
            self.registered.pop(number, None)
        return at

    def unregister(self, number: str) -> None:
        """End the registration of an endpoint, for good (URQ)."""
        self._ended.add(number)
        known = list(self._of.items())  # its thread may register somebody meanwhile
        identifier = next(name for name, (numbers, _) in known if number in numbers)
        at = self._forget(identifier)
        assert at is not None
        self._number += 1
        request = {
            "requestSeqNum": self._number,
            "callSignalAddress": [],
            "endpointIdentifier": identifier,
            "reason": ("ttlExpired", 0),
        }
        self._say(("unregistrationRequest", request), at)

    # -- call signalling that is routed --------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        caller, _ = listener.accept()
        caller.settimeout(SECONDS)
        packets = Packets(wire.length_of)
        while (setup := packets.pop()) is None:
            packets.push(caller.recv(65535))
        user = wire.read_signal(setup).user
        assert user is not None
        _, body = decoded("UserInformation", setup[user.start : user.end])["h323-uu-pdu"]["h323-message-body"]
        number = next(alias for kind, alias in body["destinationAddress"] if kind == "dialledDigits")
        try:
            with self._host.inside():
                callee = socket.create_connection(self.registered[number], REACHED_SECONDS, (self._own[0], 0))
        except OSError:
            caller.close()
            return
        callee.settimeout(SECONDS)
        callee.sendall(setup)
        for one, other in ((caller, callee), (callee, caller)):
            self._waiting.register(one, selectors.EVENT_READ, lambda ready, to=other: self._pass(ready, to))

    def _pass(self, ready: socket.socket, to: socket.socket) -> None:
        try:
            data = ready.recv(65535)
        except OSError:
            data = b""
        if data:
            with contextlib.suppress(OSError):
                to.sendall(data)
            return
        for one in (ready, to):
            with contextlib.suppress(KeyError):
                self._waiting.unregister(one)
            one.close()


def gatekeeper(
    host: Host, address: Address, model: Model = "direct", life: int = 300
) -> contextlib.AbstractContextManager[Gatekeeper]:
    """One at an address of a host. life: of a registration, in seconds."""
    return Gatekeeper(host, address, model, life).serving()
