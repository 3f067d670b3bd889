"""How FTP writes things: command lines, reply lines, and the six ways to write an address. Nothing here keeps state.

RFC 959 s.4.1 (commands), s.4.2 (replies); RFC 1123 s.4.1.2 (what 959 left open); RFC 2428 (EPRT, EPSV); RFC 1639 (LPRT,
refused); RFC 854 (Telnet). Only PORT, EPRT, EPSV and the replies 227 and 229 are ever looked into; a path may hold
anything that looks like them (F4).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host, Malformed
from protocols.toolbox import grammar
from protocols.toolbox.spans import Span

CRLF = b"\r\n"


def with_crlf(line: bytes) -> bytes:
    """The line with the line end that the protocol wants, whichever it came with (F1)."""
    return line[:-1] + CRLF if line.endswith(b"\n") and not line.endswith(CRLF) else line


# -- commands ------------------------------------------------------------------------------------------------------

TRANSFERS = frozenset(["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"])
"""Commands that use the data connection and end with a reply of their own (F58)."""

PASSIVE_227 = frozenset(["PASV", "CPSV", "P@SW"])
"""Commands that are answered by 227. CPSV swaps the TLS roles (F50). P@SW is PASV spelt so that a firewall does not see
it, and vsftpd obeys."""

AGREEMENTS = frozenset(["PORT", "EPRT", "EPSV"]) | PASSIVE_227

TLS_COMMANDS = frozenset(["AUTH", "PBSZ", "PROT", "CCC"])

LOGIN = frozenset(["USER", "PASS", "ACCT"])

_OTHERS = """
    USER PASS ACCT CWD CDUP SMNT REIN QUIT TYPE STRU MODE ALLO REST RNFR RNTO ABOR DELE RMD MKD PWD SITE SYST STAT
    HELP NOOP XCUP XCWD XMKD XPWD XRMD XRCP XRSQ XSEM XSEN MAIL MLFL MRCP MRSQ MSAM MSND MSOM LPRT LPSV ADAT CONF ENC
    MIC FEAT OPTS LANG MDTM MLST SIZE HOST HASH RANG CLNT CSID MFMT MFCT MFF COMB AVBL DSIZ RMDA PRET SPSV SSCN EPLF
    CKSM THMB ESTA ESTP XCRC XMD5 XSHA XSHA1 XSHA256 XSHA512 MD5 MMD5 SCRC SPSC XNOP REPR RETP STORP
"""
# In this order: RFC 959; its experimental forms and RFC 1639; RFC 2228, 2389, 2640, 3659, 7151; two lines from the
# field.

KNOWN = TRANSFERS | AGREEMENTS | TLS_COMMANDS | frozenset(_OTHERS.split())

_FOREIGN_VERBS = """
    GET POST PUT HEAD OPTIONS CONNECT DELETE PATCH TRACE PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH REPORT
    PRI HELO EHLO LHLO RCPT DATA BDAT VRFY EXPN STARTTLS NICK CAP JOIN PRIVMSG NOTICE PING PONG
    INVITE REGISTER SUBSCRIBE NOTIFY MESSAGE PUBLISH REFER ACK CANCEL UPDATE PRACK
    DESCRIBE ANNOUNCE SETUP PLAY RECORD TEARDOWN REDIRECT CAPA APOP STLS EVAL SLAVEOF REPLICAOF
"""
_FOREIGN = frozenset(_FOREIGN_VERBS.split())
"""Verbs of protocols that a browser or a server can be made to speak to this port (F12). In this order: HTTP and
WebDAV, SMTP, IRC, SIP, RTSP, POP3, Redis. None is an FTP command."""

_VERB_SHAPE = re.compile(r"[A-Z]{3,}[0-9]{0,3}\Z")
_OTHER_PROTOCOL = re.compile(
    rb"(?:.*[ \t])?(?:HTTPS?|RTSP|SIP|ICAP|SHTTP)/[0-9](?:\.[0-9])?\Z", re.IGNORECASE | re.DOTALL
)
"""How request lines end in protocols that take any word for a method, such as USER."""
_REGISTERS_WITH_IRC = re.compile(rb"[^ ]+ [^ ]+ [^ ]+ :")


class Command(NamedTuple):
    verb: str
    """The verb in capitals, as Latin-1. It is empty for a blank line."""
    argument: bytes
    """The argument without the blanks around it. It may be a password."""

    def is_foreign(self, is_first: bool) -> bool:
        """Whether this command, before the login, shows that the session is no FTP session. is_first: it is the first
        line that is not blank."""
        verb, argument = self.verb, self.argument
        if ":" in verb or verb in _FOREIGN:  # the first verb is also a field of HTTP, SIP or mail
            return True
        if is_first and verb not in KNOWN and not _VERB_SHAPE.match(verb):
            return True
        # Names and passwords may be anything.
        if (is_first or verb not in LOGIN) and _OTHER_PROTOCOL.match(argument):
            return True
        if verb == "MAIL":
            return argument[:5].upper() == b"FROM:"
        return is_first and verb == "USER" and _REGISTERS_WITH_IRC.match(argument) is not None


def read_command(line: bytes) -> Command:
    """Take a command line apart, whatever its end. Never fails.

    RFC 959 wants one space; servers differ in what else they skip before, between and after, so any blank counts: a
    PORT that only the server recognises would go unchecked.
    """
    if line[0] >= 0xF0 or 0xFF in line:
        # Also a Data Mark whose IAC was lost to urgent data: some clients send it so, and servers skip it (F8).
        line = without_telnet(line).lstrip(b"\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff")
    words = line.split(None, 1)
    if not words:
        return Command("", b"")
    return Command(words[0].upper().decode("latin-1"), words[1].strip() if len(words) > 1 else b"")


# -- Telnet (F7, F8) -----------------------------------------------------------------------------------------------

# IAC IAC is a literal 255, IAC SB ... IAC SE a subnegotiation, IAC WILL/WONT/DO/DONT takes an option, all others are
# alone.
_TELNET = re.compile(rb"\xff(?:(\xff)|\xfa[^\xff]*\xff\xf0|[\xfb-\xfe][^\r\n]|[\xf0-\xfa])")


def without_telnet(line: bytes) -> bytes:
    """What a reader of the line sees that obeys Telnet."""
    return _TELNET.sub(rb"\1", line)


def only_telnet(line: bytes) -> bytes:
    """The Telnet commands of a line, to go before the line that replaces it."""
    return b"".join(match[0] for match in _TELNET.finditer(line) if not match[1]) if 0xFF in line else b""


# -- replies -------------------------------------------------------------------------------------------------------

# Code and blank, code and hyphen, or the bare code; a TAB is seen in the field (F13, F17).
REPLY_LINE = re.compile(rb"([1-6][0-9][0-9])(?:(-)|[ \t\r\n]|\Z)")


def ends_reply(line: bytes, code: bytes) -> bool:
    """Whether this line ends the multi-line reply that began with `code-` (F13)."""
    return line.startswith(code) and line[3:4] in (b" ", b"\t", b"\r", b"\n", b"")


_FEATURE = re.compile(rb"(?:[0-9]{3}-| *)([A-Za-z@]+)")


def feature(line: bytes) -> str:
    """The feature that an inner line of the FEAT reply names (RFC 2389 s.3.2), in capitals, or nothing."""
    match = _FEATURE.match(line)
    return match[1].decode("ascii").upper() if match else ""


# -- addresses -----------------------------------------------------------------------------------------------------


class FamilyNotSupported(Malformed):
    """EPRT or EPSV names a network protocol that the session does not have: answered 522 (F22, F45)."""


FAMILY = {4: b"1", 6: b"2"}
"""IP version -> the number that RFC 2428 s.2 uses for it."""

_SIX = re.compile(rb"[0-9]{1,3}(?:,[0-9]{1,3}){5}")

# F40: "the first run of exactly six". Blanks are bounded because the text is a peer's. What stands before may be no
# digit, nor a comma, also not behind blanks: seven numbers hold no run of six.
_SIX_IN_TEXT = re.compile(
    rb"(?<![0-9,])(?<!,[ \t])(?<!,[ \t]{2})(?<!,[ \t]{3})(?<!,[ \t]{4})"
    rb"([0-9]{1,3}(?:[ \t]{0,4},[ \t]{0,4}[0-9]{1,3}){5})"
    rb"(?![0-9])(?![ \t]{0,4},[ \t]{0,4}[0-9])"
)

# RFC 2428 s.3, with fields that should be blank but are not.
_EPSV_IN_TEXT = re.compile(rb"\(([!-~])((?:(?!\1)[^\r\n()]){0,64})\1(?:(?!\1)[^\r\n()]){0,64}\1([0-9]{1,5})\1\)")


def _six_numbers(text: bytes) -> Endpoint:
    """h1,h2,h3,h4,p1,p2 as an endpoint. Leading zeros are decimal (F20). Raises Malformed above 255."""
    numbers = [int(number) for number in text.split(b",")]
    if max(numbers) > 255:
        raise Malformed("a number above 255")
    return Endpoint(IPv4Address(bytes(numbers[:4])), numbers[4] << 8 | numbers[5])


def read_port(argument: bytes) -> Endpoint:
    """The argument of PORT; the port may be 0. Raises Malformed. RFC 959 s.4.1.2, s.5.3.2."""
    if not _SIX.fullmatch(argument):
        raise Malformed("not six numbers")
    return _six_numbers(argument)


def read_eprt(argument: bytes, version: int) -> Endpoint:
    """The argument of EPRT, `<d>af<d>addr<d>port<d>`; the port may be 0.

    version: the IP version that is supported here, 4 or 6.
    Raises FamilyNotSupported, Malformed. RFC 2428 s.2; F21.
    """
    mark = argument[:1]
    fields = argument.split(mark) if mark else []
    # A delimiter that can stand in a field as well would make the line mean two things.
    if len(fields) != 5 or fields[0] or fields[4] or not 33 <= mark[0] <= 126 or mark in b"0123456789:.":
        raise Malformed("not three fields between equal delimiters")
    if fields[1] != FAMILY[version]:
        if not re.fullmatch(rb"[0-9]{1,5}", fields[1]):
            raise Malformed("the network protocol is no number")
        raise FamilyNotSupported(fields[1].decode())
    host: Host = grammar.read(grammar.IPV4 if version == 4 else grammar.IPV6, fields[2])
    return Endpoint(host, grammar.read(grammar.PORT, fields[3]))


def names_port(reply: bytes) -> bool:
    """Whether the text of a reply holds something that a client may read as an address or a port to dial."""
    return _SIX_IN_TEXT.search(reply, 4) is not None or _EPSV_IN_TEXT.search(reply, 4) is not None


def read_227(reply: bytes) -> tuple[Endpoint, Span]:
    """The address in the free text of a reply to PASV, and where it stands. Raises Malformed (F40, F41).

    reply: the whole reply with its lines. The code at its beginning is skipped, it is no part of the text.
    """
    match = _SIX_IN_TEXT.search(reply, 4)
    if match is None:
        raise Malformed("no run of six numbers")
    return _six_numbers(re.sub(rb"[ \t]", b"", match[1])), Span(*match.span(1))


def read_229(reply: bytes) -> tuple[int, Span]:
    """The port in a reply to EPSV, and the span between the outer two delimiters. Raises Malformed (F44)."""
    match = _EPSV_IN_TEXT.search(reply, 4)
    if match is None:
        raise Malformed("no (|||port|)")
    return grammar.read(grammar.PORT, match[3]), Span(match.start(2), match.end(3))


def six_numbers(endpoint: Endpoint) -> bytes:
    """An IPv4 endpoint as PORT and 227 write it."""
    return b"%d,%d,%d,%d,%d,%d" % (*endpoint.host.packed, endpoint.port >> 8, endpoint.port & 255)


def port_line(endpoint: Endpoint) -> bytes:
    return b"PORT " + six_numbers(endpoint) + CRLF


def eprt_line(endpoint: Endpoint) -> bytes:
    return b"EPRT |%b|%b|%d|\r\n" % (FAMILY[endpoint.host.version], str(endpoint.host).encode(), endpoint.port)


def pasv_reply(endpoint: Endpoint) -> bytes:
    return b"227 Entering Passive Mode (" + six_numbers(endpoint) + b").\r\n"


def epsv_reply(port: int) -> bytes:
    return b"229 Entering Extended Passive Mode (|||%d|)\r\n" % port
