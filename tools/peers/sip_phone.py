"""A phone that lives with a bad line: it repeats what is not answered, answers again what comes again, and now and then
does not behave at all. RFC 3261 s.17 (timers), s.9 (CANCEL), s.12 and 15 (dialogs); RFC 3515 (REFER).

It is also the exchange of such phones: it keeps registrations, and calls who has registered.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from tools.lab import Host

T1 = 0.1
"""A fifth of what the RFC has: more is repeated in the same time."""
LAST_SEND = 7
"""Then nobody waits any more: 64 * T1."""
RTP_PACKETS = 12
_URI_HOST = re.compile(r"sip:(?:[^@;>\s]*@)?([^:;>\s]+):(\d+)")
RTP_MEDIA = re.compile(r"^c=IN IP4 (\S+)\r?$.*^m=audio (\d+) ", re.MULTILINE | re.DOTALL)

At = tuple[str, int]


@dataclass(slots=True)
class Sip:
    """A message, as far as it matters here."""

    first: str
    fields: dict[str, list[str]]
    body: str

    @classmethod
    def read(cls, data: bytes) -> Sip:
        head, _, body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        fields: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), []).append(value.strip())
        return cls(first, fields, body)

    def one(self, name: str) -> str:
        return self.fields.get(name, [""])[0]

    @property
    def method(self) -> str:
        return self.one("cseq").partition(" ")[2]

    @property
    def status(self) -> int:
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def transaction(self) -> str:
        return self.one("via").partition("branch=")[2].partition(";")[0] + self.method

    @property
    def to_tag(self) -> str:
        return self.one("to").partition(";tag=")[2]


@dataclass(slots=True)
class Dialog:
    call_id: str
    local: str
    """From, as this party says it; with its tag."""
    remote: str
    target: str
    """URI of the other party."""
    peer: At
    media: socket.socket
    number: int = 1
    is_over: bool = False
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """An ACK has come."""


class Phone(asyncio.DatagramProtocol):
    """One socket for signalling. Use `await Phone.at(...)`."""

    def __init__(self, host: Host, at: At, name: str, chance: random.Random, did: Counter[str]) -> None:
        """did: what happened is counted there."""
        self._host, self._at, self._name = host, at, name
        self._chance, self._did = chance, did
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[str, asyncio.Queue[Sip]] = {}
        self._answered: dict[str, bytes] = {}
        self._dialogs: dict[str, Dialog] = {}
        self._cancelled: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._media: set[socket.socket] = set()
        self.contacts: dict[str, str] = {}
        """Who has registered here: name -> URI."""

    @classmethod
    async def at(cls, host: Host, port: int, name: str, chance: random.Random, did: Counter[str]) -> Phone:
        phone = cls(host, (str(host.v4), port), name, chance, did)
        loop = asyncio.get_running_loop()
        with host.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(phone._at)
        phone._transport, _ = await loop.create_datagram_endpoint(lambda: phone, sock=sock)
        return phone

    async def leave(self) -> None:
        """Hang up nothing; be gone."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._media:
            sock.close()
        self._dialogs.clear()
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    def connection_lost(self, _: Exception | None) -> None:
        self._closed.set()

    # -- what it does ------------------------------------------------------------------------------------------------

    async def register(self, server: At, seconds: int) -> bool:
        """With 0 seconds: it is not here any more."""
        me = f"<sip:{self._name}@example.org>"
        answer = await self._ask(
            "REGISTER", "sip:example.org", server, me + f";tag={self._word()}", me, self._word(), 1,
            [f"Contact: <sip:{self._name}@{self._at[0]}:{self._at[1]}>", f"Expires: {seconds}"],
        )  # fmt: skip
        self._count("registered" if seconds else "unregistered", answer is not None and answer.status == 200)
        return answer is not None and answer.status == 200

    async def call(self, uri: str, server: At, replaces: str = "") -> None:
        """Somebody, for a while; in one of the ways in which calls go."""
        media, port = self._open_media()
        local, remote = f"<sip:{self._name}@example.org>;tag={self._word()}", f"<{uri}>"
        call_id = self._word()
        gives_up_after = self._chance.choice((None, None, None, 0.15))
        answer = await self._ask(
            "INVITE", uri, server, local, remote, call_id, 1, self._contact() + ([replaces] if replaces else []),
            self._sdp(port), gives_up_after,
        )  # fmt: skip
        if answer is None or answer.status >= 300:
            self._count("call not answered" if answer is None else f"call refused {answer.status}", True)
            self._close_media(media)
            return
        dialog = Dialog(call_id, local, answer.one("to"), _inside(answer.one("contact")) or uri, server, media)
        self._dialogs[call_id] = dialog
        await self._talk(dialog, answer.body)
        if self._chance.random() < 0.15:
            self._count("vanished in a call", True)  # neither BYE nor anything
            self._drop(dialog)
            return
        if self._chance.random() < 0.4:
            await self._hold(dialog, port)
        if self._chance.random() < 0.3 and not dialog.is_over:
            await self._in_dialog(dialog, "REFER", ["Refer-To: <sip:other@example.org>", *self._contact()])
            self._count("transferred", True)
        if not dialog.is_over:
            await self._hang_up(dialog)

    async def _hold(self, dialog: Dialog, port: int) -> None:
        for direction in ("sendonly", "sendrecv"):
            if not dialog.is_over:
                answer = await self._in_dialog(dialog, "INVITE", self._contact(), self._sdp(port, direction))
                self._count("held" if direction == "sendonly" else "resumed", answer is not None)

    async def _hang_up(self, dialog: Dialog) -> None:
        await self._in_dialog(dialog, "BYE", [])
        self._count("hung up", True)
        self._drop(dialog)

    def _drop(self, dialog: Dialog) -> None:
        dialog.is_over = True
        self._close_media(dialog.media)
        self._dialogs.pop(dialog.call_id, None)

    async def _talk(self, dialog: Dialog, body: str) -> None:
        if (found := RTP_MEDIA.search(body)) is None:
            return
        for number in range(RTP_PACKETS):
            if dialog.is_over:
                return
            packet = b"\x80\x08" + number.to_bytes(2) + bytes(168)
            try:
                dialog.media.sendto(packet, (found[1], int(found[2])))
                dialog.media.recv(2048)
                self._did["audio heard"] += 1
            except OSError:
                pass
            await asyncio.sleep(0.02)

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _in_dialog(self, dialog: Dialog, method: str, lines: list[str], body: str = "") -> Sip | None:
        dialog.number += 1
        number = dialog.number
        return await self._ask(
            method, dialog.target, dialog.peer, dialog.local, dialog.remote, dialog.call_id, number, lines, body
        )

    async def _ask(
        self,
        method: str,
        uri: str,
        to: At,
        local: str,
        remote: str,
        call_id: str,
        number: int,
        lines: list[str],
        body: str = "",
        gives_up_after: float | None = None,
    ) -> Sip | None:
        """The final response, acknowledged; None if there is none."""
        branch = f"z9hG4bK{self._word()}"

        def message(name: str, destination: str, more: list[str], text: str = "", its: str = branch) -> bytes:
            head = [
                f"{name} {uri} SIP/2.0",
                f"Via: SIP/2.0/UDP {self._at[0]}:{self._at[1]};branch={its};rport",
                f"From: {local}",
                f"To: {destination}",
                f"Call-ID: {call_id}",
                f"CSeq: {number} {name}",
                "Max-Forwards: 70",
                *more,
                *(["Content-Type: application/sdp"] if text else []),
                f"Content-Length: {len(text)}",
            ]
            return ("\r\n".join(head) + "\r\n\r\n" + text).encode()

        answers = self._waiting[branch + method] = asyncio.Queue()
        request = message(method, remote, lines, body)
        is_ringing = False
        loop = asyncio.get_running_loop()
        leaves_at = None if gives_up_after is None else loop.time() + gives_up_after
        wait, sends = T1, 0
        try:
            while sends < LAST_SEND:
                if not is_ringing:
                    self._send(request, to)
                sends += 1
                try:
                    async with asyncio.timeout(wait):
                        answer = await answers.get()
                        while answer.status < 200:
                            is_ringing = method == "INVITE"
                            answer = await answers.get()
                except TimeoutError:
                    wait *= 2
                    if leaves_at is not None and loop.time() >= leaves_at and is_ringing:
                        self._send(message("CANCEL", remote, []), to)
                        self._did["cancelled"] += 1
                    continue
                if method == "INVITE":
                    its = branch if answer.status >= 300 else f"z9hG4bK{self._word()}"
                    acknowledgement = message("ACK", answer.one("to"), [], its=its)
                    self._send(acknowledgement, to)
                    self._answered[branch + method] = acknowledgement  # the same for each repeated one
                return answer
            return None
        finally:
            del self._waiting[branch + method]

    def _send(self, data: bytes, to: At) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, to)

    # -- what comes --------------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, source: At) -> None:
        message = Sip.read(data)
        key = message.transaction
        if message.status:
            if (waiting := self._waiting.get(key)) is not None:
                waiting.put_nowait(message)
            elif message.status >= 200 and (acknowledgement := self._answered.get(key)) is not None:
                self._send(acknowledgement, source)
            return
        if message.method == "ACK":
            if (dialog := self._dialogs.get(message.one("call-id"))) is not None:
                dialog.heard.set()
            return
        if (before := self._answered.get(key)) is not None:
            self._did["asked again"] += 1
            self._send(before, source)
            return
        handle: Callable[[Sip, At], None] = getattr(self, f"_on_{message.method.lower()}", self._on_other)
        handle(message, source)

    def _answer(self, request: Sip, to: At, status: str, lines: list[str] | None = None, body: str = "") -> bytes:
        kept = [f"{name}: {value}" for name in ("via", "from", "call-id", "cseq") for value in request.fields[name]]
        party = request.one("to")
        if ";tag=" not in party and not status.startswith("100"):
            party += f";tag={self._name}{request.one('call-id')[:8]}"
        head = [f"SIP/2.0 {status}", *kept, f"To: {party}", *self._contact(), *(lines or [])]
        head += [*(["Content-Type: application/sdp"] if body else []), f"Content-Length: {len(body)}"]
        answer = ("\r\n".join(head) + "\r\n\r\n" + body).encode()
        self._answered[request.transaction] = answer
        self._send(answer, to)
        return answer

    def _on_other(self, request: Sip, source: At) -> None:
        self._answer(request, source, "200 OK")

    def _on_register(self, request: Sip, source: At) -> None:
        name = request.one("to").partition("sip:")[2].partition("@")[0]
        contact = _inside(request.one("contact"))
        if int(request.one("expires")):
            self.contacts[name] = contact
        else:
            self.contacts.pop(name, None)
        self._answer(request, source, "200 OK", [f"Expires: {request.one('expires')}"])

    def _on_refer(self, request: Sip, source: At) -> None:
        self._answer(request, source, "202 Accepted")
        uri = f"sip:transferred@{source[0]}:{source[1]}"
        if (dialog := self._dialogs.get(request.one("call-id"))) is not None:
            self._start(self.call(uri, dialog.peer, f"Referred-By: <sip:{self._name}@example.org>"))

    def _on_bye(self, request: Sip, source: At) -> None:
        dialog = self._dialogs.get(request.one("call-id"))
        self._answer(request, source, "200 OK" if dialog is not None else "481 No Such Call")
        if dialog is not None:
            self._drop(dialog)

    def _on_cancel(self, request: Sip, source: At) -> None:
        self._answer(request, source, "200 OK")
        if (ringing := self._cancelled.get(request.one("call-id"))) is not None:
            ringing.set()

    def _on_invite(self, request: Sip, source: At) -> None:
        self._answer(request, source, "100 Trying")
        self._start(self._ring(request, source))

    async def _ring(self, request: Sip, source: At) -> None:
        call_id = request.one("call-id")
        if (dialog := self._dialogs.get(call_id)) is not None:
            self._answer(request, source, "200 OK", body=self._sdp(dialog.media.getsockname()[1]))
            return
        if self._chance.random() < 0.1:
            self._answer(request, source, "486 Busy Here")
            return
        media, port = self._open_media()
        early = self._chance.random() < 0.3
        self._answer(request, source, "183 Progress" if early else "180 Ringing", body=self._sdp(port) if early else "")
        cancelled = self._cancelled[call_id] = asyncio.Event()
        try:
            async with asyncio.timeout(self._chance.random() * 0.6):
                await cancelled.wait()
            self._answer(request, source, "487 Request Terminated")
            self._close_media(media)
            return
        except TimeoutError:
            pass
        finally:
            self._cancelled.pop(call_id, None)  # unless another INVITE of the call has
        to = request.one("to") + f";tag={self._name}{call_id[:8]}"
        target = _inside(request.one("contact"))
        dialog = self._dialogs[call_id] = Dialog(call_id, to, request.one("from"), target, source, media, 100)
        answer = self._answer(request, source, "200 OK", body=self._sdp(port))
        wait = T1
        for _ in range(LAST_SEND):  # until the ACK has come (RFC 3261 s.13.3.1.4)
            try:
                async with asyncio.timeout(wait):
                    await dialog.heard.wait()
                break
            except TimeoutError:
                wait *= 2
                self._send(answer, source)
        await self._talk(dialog, request.body)
        if self._chance.random() < 0.3 and not dialog.is_over:
            await self._hang_up(dialog)
        elif not dialog.heard.is_set() or self._chance.random() < 0.1:
            self._drop(dialog)
        else:
            await asyncio.sleep(5)  # the other one hangs up, or has vanished
            self._drop(dialog)

    # -- odds and ends -----------------------------------------------------------------------------------------------

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open_media(self) -> tuple[socket.socket, int]:
        """A pair of ports; the odd one is of no use here."""
        while True:
            with self._host.inside():
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            port = self._chance.randrange(20_000, 60_000, 2)
            try:
                sock.bind((self._at[0], port))
            except OSError:
                sock.close()
                continue
            self._media.add(sock)
            return sock, port

    def _close_media(self, sock: socket.socket) -> None:
        sock.close()
        self._media.discard(sock)

    def _sdp(self, port: int, direction: str = "sendrecv") -> str:
        address = self._at[0]
        return (
            f"v=0\r\no=- {port} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
        )

    def _contact(self) -> list[str]:
        return [f"Contact: <sip:{self._name}@{self._at[0]}:{self._at[1]}>"]

    def _word(self) -> str:
        return f"{self._chance.getrandbits(64):016x}"

    def _count(self, what: str, went_well: bool) -> None:
        self._did[what if went_well else f"{what}: no"] += 1


def where(uri: str) -> At:
    """The address in a URI that has one."""
    found = _URI_HOST.search(uri)
    assert found
    return found[1], int(found[2])


def _inside(value: str) -> str:
    return value.partition("<")[2].partition(">")[0]
