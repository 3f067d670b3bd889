"""What FTP's PORT, EPRT, PASV and EPSV say, and how it is said to the other side: checked, opened for, rewritten.

RFC 959 s.4.1.2 (PORT, PASV), RFC 2428 (EPRT, EPSV), RFC 2577 (bounce), RFC 6384 (hosts of different families). The
pinholes themselves are data.py's; which reply belongs to which command is queue.py's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Malformed, Peers, Side
from protocols.contract.effects import Note, Outbox, violation
from protocols.contract.pinholes import Refusal
from protocols.ftp import wire
from protocols.ftp.data import Data, DataConnections
from protocols.ftp.options import FtpOptions
from protocols.ftp.queue import Pending
from protocols.toolbox.spans import Span, replace

CLIENT, SERVER = Side.CLIENT, Side.SERVER


class Forward(NamedTuple):
    """The command goes on to the server as `line`."""

    line: bytes
    data: Data | None = None
    """What was opened for it and waits for the server's consent."""


class Answer(NamedTuple):
    """The command is answered in the server's place."""

    text: bytes


class Agreements:
    """What the commands and replies of one session agree on: each is checked, opened for, and rewritten where NAT maps
    the host that it names."""

    __slots__ = ("_data", "_options", "_out", "_peers", "is_epsv_only")

    def __init__(self, peers: Peers, options: FtpOptions, data: DataConnections, out: Outbox) -> None:
        self._peers = peers
        self._options = options
        self._data = data
        self._out = out
        self.is_epsv_only = False
        """EPSV ALL was agreed to (RFC 2428 s.4)."""

    def family(self, side: Side) -> int:
        """The IP version that the host on this side speaks with us."""
        return self._peers.own(side).host.version

    @property
    def is_translated(self) -> bool:
        """Whether the two hosts speak different IP versions with us."""
        return self.family(CLIENT) != self.family(SERVER)

    # -- commands --------------------------------------------------------------------------------------------------

    def asked(self, command: wire.Command, line: bytes) -> Forward | Answer:
        """What becomes of PORT, EPRT, PASV, EPSV, or one of their kin."""
        if command.verb == "EPSV":
            return self._epsv(command, line)
        if self.is_epsv_only:
            self._violation("ftp.epsv_all", f"{command.verb} after EPSV ALL", "answered 503")
            return Answer(b"503 Not after EPSV ALL.")
        if command.verb in ("PORT", "EPRT"):
            return self._port(command, line)
        if command.verb in wire.PASSIVE_227:
            return self._pasv(command, line)
        # F23: nobody uses LPRT and LPSV, and passed unread they open the same hole as PORT.
        return Answer(b"502 Use EPRT or EPSV.")

    def _epsv(self, command: wire.Command, line: bytes) -> Forward | Answer:
        """EPSV with nothing, the number of a family, or ALL (F45)."""
        argument = command.argument.upper()
        if argument == b"ALL":
            # A server of another family will hear PASV or EPRT from us, whatever is promised here.
            return Answer(b"504 EPSV ALL cannot be kept here.") if self.is_translated else Forward(line)
        if argument in (b"", wire.FAMILY[self.family(CLIENT)]):
            if not self.is_translated:
                return Forward(line)
            # RFC 6384 s.6: IPv4 servers need not know EPSV.
            return Forward(b"PASV\r\n" if self.family(SERVER) == 4 else b"EPSV\r\n")
        if re.fullmatch(rb"[0-9]{1,5}", argument):
            return self._other_family()
        return Answer(b"501 Syntax error in parameters.")

    def _other_family(self) -> Answer:
        return Answer(b"522 Network protocol not supported, use (" + wire.FAMILY[self.family(CLIENT)] + b")")

    def _pasv(self, command: wire.Command, line: bytes) -> Forward | Answer:
        if not self.is_translated:
            return Forward(line)
        if self.family(CLIENT) == 4 and command.verb != "CPSV":
            return Forward(b"EPSV\r\n")
        return Answer(b"502 Use EPSV.")  # 227 cannot say an IPv6 address

    def _port(self, command: wire.Command, line: bytes) -> Forward | Answer:
        """PORT and EPRT. What the two must believe:

        1) the server dials the address under which it knows the client, and finds our pinhole there;
        2) the client is dialled from the address under which it knows the server;
        3) nobody else is ever dialled, and nobody but the server gets in.
        """
        try:
            if command.verb == "PORT":
                announced = wire.read_port(command.argument)
            else:
                announced = wire.read_eprt(command.argument, self.family(CLIENT))
        except wire.FamilyNotSupported:
            return self._other_family()
        except Malformed as fault:
            self._violation("ftp.bad_port", f"{command.verb}: {fault}", "answered 501")
            return Answer(b"501 Syntax error in parameters.")
        if not announced.port:
            self._violation("ftp.bad_port", f"{command.verb} {announced}", "answered 501")
            return Answer(b"501 Port 0 is no port.")
        if not self._data.is_own(CLIENT, announced.host) and not self._data.is_third_party(announced.host):
            self._violation("ftp.bounce", f"{command.verb} {announced}", "answered 504")
            return Answer(b"504 Not the address of this client.")
        if announced.port < self._options.min_port:
            self._violation("ftp.low_port", f"{command.verb} {announced}", "answered 504")
            return Answer(b"504 Port not allowed.")
        return self._agree_on(command, line, announced)

    def _agree_on(self, command: wire.Command, line: bytes, announced: Endpoint) -> Forward | Answer:
        """Open for PORT or EPRT before the server hears of it: some probe the port before they reply (F30)."""
        if (data := self._data.stands_at(announced)) is not None:
            # The client says the same again: what it asks for stands already.
            data.close_at = None
            return Forward(line, data)
        foreign = not self._data.is_own(CLIENT, announced.host)
        opened = self._data.open(CLIENT, announced, command.verb, confirmed=False)
        if isinstance(opened, Refusal):
            if foreign and opened.reason == "address_in_use":
                # The third host's own session opened it when it answered PASV: nothing is left to do (F62).
                self._kept(command.verb, announced, foreign)
                return Forward(line)
            return Answer(b"425 Can't open data connection.")
        if foreign or not self._peers.is_mapped(CLIENT):
            self._kept(command.verb, announced, foreign)
            return Forward(line, opened)
        listen = opened.grant.listen
        self._rewritten(command.verb, announced, listen)
        # F27: PORT where the server speaks IPv4, EPRT where it speaks IPv6 or the client chose it.
        use_port = self.family(SERVER) == 4 and (command.verb == "PORT" or self.is_translated)
        new = wire.port_line(listen) if use_port else wire.eprt_line(listen)
        return Forward(wire.only_telnet(line) + new, opened)

    # -- replies ---------------------------------------------------------------------------------------------------

    def replied(self, answered: Pending, code: int, reply: bytes) -> bytes:
        """227 and 229: what the client is told, pinhole open. What the two must believe:

        1) the client dials the address under which it knows the server, and finds our pinhole there: also a client that
           ignores the text, so a third address in it changes nothing (F42, F43);
        2) the server is dialled from the address under which it knows the client;
        3) nobody but the client gets in.
        """
        if code >= 300:
            return b""
        if answered.argument.upper() == b"ALL":
            self.is_epsv_only = True
            return reply
        # The server has dropped the agreement before this one, and may have used its port again (F29, F47).
        self._data.replace(None)
        text = wire.without_telnet(reply) if 0xFF in reply else reply
        try:
            if answered.verb != "EPSV" and self._peers.is_mapped(SERVER) and self.family(CLIENT) == 6:
                raise Malformed("an IPv6 address cannot be announced by it")
            announced, span = self._read(answered.verb, code, text)
        except Malformed as fault:
            self._violation("ftp.bad_227", f"{answered.verb}: {fault}", "answered 425")
            return _NO_DATA
        if announced.port < self._options.min_port:
            self._violation("ftp.low_port", f"{code} {announced}", "answered 425")
            return _NO_DATA
        foreign = not self._data.is_own(SERVER, announced.host)
        if foreign and not self._data.is_third_party(announced.host):
            refuse = self._options.passive_mismatch == "refuse"
            action = "answered 425" if refuse else "the server's own address is used"
            self._violation("ftp.pasv_mismatch", f"{code} {announced}", action)
            if refuse:
                return _NO_DATA
        data = self._data.open(SERVER, announced, answered.verb, confirmed=True)
        if isinstance(data, Refusal):
            return _NO_DATA
        self._data.replace(data)
        if not self._peers.is_mapped(SERVER) or data.grant.expect.target.host != self._peers.server.host:
            self._kept(str(code), announced, foreign)
            return reply
        listen = data.grant.listen
        self._rewritten(str(code), announced, listen)
        return wire.only_telnet(reply) + self._announcement(answered.verb, text, span, listen)

    def _read(self, verb: str, code: int, text: bytes) -> tuple[Endpoint, Span]:
        """The endpoint in a reply of the kind that the server was asked for. Raises Malformed."""
        expected = 229 if self._asks_epsv(verb) else 227
        if code != expected:
            raise Malformed(f"answered {code}")
        if expected == 227:
            endpoint, span = wire.read_227(text)
        else:
            port, span = wire.read_229(text)
            endpoint = Endpoint(self._peers.server.host, port)
        if not endpoint.port:
            raise Malformed("port 0")
        return endpoint, span

    def _asks_epsv(self, verb: str) -> bool:
        """Whether the server hears EPSV when the client says this."""
        return self.family(SERVER) == 6 if self.is_translated else verb == "EPSV"

    def _announcement(self, verb: str, text: bytes, span: Span, listen: Endpoint) -> bytes:
        """The reply to PASV or EPSV with our address in it, in the words of the server where the form is the same."""
        other_form = self.is_translated and (verb == "EPSV") != self._asks_epsv(verb)
        if other_form or self._names_server(text[: span.start] + text[span.end :]):
            return wire.epsv_reply(listen.port) if verb == "EPSV" else wire.pasv_reply(listen)
        if verb == "EPSV":
            mark = text[span.start - 1 : span.start]
            new = mark + mark + b"%d" % listen.port
        else:
            new = wire.six_numbers(listen)
            if text[span.start - 1 : span.start] != b"(":
                new = b"(" + new + b")"  # F43: some clients look for nothing else
        return wire.with_crlf(replace(text, [(span, new)]))

    def _names_server(self, text: bytes) -> bool:
        """Whether a reply of several lines names the server's own address once more: clients differ in which line they
        read, and none should see it."""
        dotted = str(self._peers.server.host).encode()
        return dotted in text or dotted.replace(b".", b",") in text

    # -- lines of log ----------------------------------------------------------------------------------------------

    def _violation(self, rule: str, detail: str, action: str) -> None:
        self._out.add(violation(rule, detail, action))

    def _rewritten(self, message: str, before: Endpoint, after: Endpoint) -> None:
        change = {"field": "address", "before": str(before), "after": str(after)}
        self._out.add(Note("address.rewritten", {"message": message, "changes": [change]}))

    def _kept(self, message: str, value: Endpoint, foreign: bool) -> None:
        """Tell the log that an address was kept, but only where a reader of the log would expect a change."""
        if foreign:
            reason = "third_party" if self._data.is_third_party(value.host) else "not_the_server"
            change = {"field": "address", "value": str(value), "reason": reason}
            self._out.add(Note("address.kept", {"message": message, "changes": [change]}))


_NO_DATA = b"425 Can't open data connection.\r\n"
