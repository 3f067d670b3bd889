"""FTP commands: each goes on to the server and is counted, but for those that a table below names.

a line of the client's
  -> a command (wire.py)
  -> waits, if a login is under way and the command needs one     F5
  -> ends the session, if no FTP client would say it              F12
  -> is answered in the server's place: nothing, denied           F72
  -> COMMANDS[verb]: transfers (F58), agreements (F24, F45), TLS (F65, F67)
  -> any other: is passed on, and its reply is waited for         F5
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from protocols.contract.addresses import Side
from protocols.contract.pinholes import Refusal
from protocols.ftp import wire
from protocols.ftp.agreement import Answer, Forward
from protocols.ftp.data import Data, Transfer
from protocols.ftp.login import FIRST as LOG_IN_FIRST
from protocols.ftp.login import NEED_LOGIN
from protocols.ftp.queue import MAX_PENDING, Pending
from protocols.ftp.session import ASKED, Session

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def read(session: Session, line: bytes) -> None:
    """One command line, with its end."""
    session.heard_at = session.now
    command = wire.read_command(line)
    verb = command.verb
    if verb in NEED_LOGIN and not session.login.is_done and session.queue.is_logging_in():
        session.kept = line
        return
    if verb:
        session.spoken.add(CLIENT)
    if why := session.login.said(command):
        session.not_ftp(why)
        return
    if not verb:
        _answer(session, command, b"500 No command.")
    elif verb in session.denied:
        session.violation("ftp.command_denied", verb, "answered 502")
        _answer(session, command, b"502 Command not allowed here.")
    else:
        COMMANDS.get(verb, _pass_on)(session, command, line)


def _pass_on(
    session: Session, command: wire.Command, line: bytes, data: Data | None = None, transfer: Transfer | None = None
) -> None:
    """Send a command on; `line` is what the server gets. Its reply is due when those before it have come.

    data: what was opened for it and waits for the server's consent.
    """
    if command.verb == "QUIT":
        session.is_leaving = True
    if _enqueue(session, Pending(command.verb, command.argument, data=data, transfer=transfer)):
        session.out.send(SERVER, session.line_end(CLIENT, line))


def _answer(session: Session, command: wire.Command, text: bytes) -> None:
    """Answer a command in the server's place, in turn: behind the replies that the server still owes."""
    if session.queue:
        _enqueue(session, Pending(command.verb, answer=text + wire.CRLF))
    else:
        session.out.send(CLIENT, text + wire.CRLF)


def _enqueue(session: Session, pending: Pending) -> bool:
    """Put a command into the queue of those that wait for a reply. False: too many wait already (F77), and the session
    is over."""
    if not session.queue.append(pending):
        session.quit(
            b"421 Too many commands at once.", "too_many_pending", f"{MAX_PENDING} commands wait for their reply"
        )
        return False
    return True


def _transfer(session: Session, command: wire.Command, line: bytes) -> None:
    """RETR, STOR and their kin. Without an agreement the server dials the client's default data port (F33)."""
    agreement, opened = session.data.agreement, None
    if agreement is None and _may_use_default_port(session) and not session.queue.is_agreeing():
        answer = session.data.open_default(command.verb)
        if not isinstance(answer, Refusal):  # otherwise nearly every server answers 425, and that tells the client best
            opened = answer
    session.data.wait(agreement or opened)
    _pass_on(session, command, line, opened, Transfer(command.verb, command.argument))


def _may_use_default_port(session: Session) -> bool:
    options = session.options
    return (
        session.login.is_done
        and options.default_data_port
        and not session.agreements.is_epsv_only
        and session.peers.client.port >= options.min_port
    )


def _agree(session: Session, command: wire.Command, line: bytes) -> None:
    """PORT, EPRT, PASV, EPSV and their kin. agreement.py decides what becomes of them."""
    if not session.login.is_done and command.verb in wire.AGREEMENTS:
        session.violation("ftp.before_login", command.verb, "answered 530")
        _answer(session, command, LOG_IN_FIRST)
        return
    match session.agreements.asked(command, line):
        case Forward(new, data):
            _pass_on(session, command, new, data)
        case Answer(text):
            _answer(session, command, text)


def _tls(session: Session, command: wire.Command, line: bytes) -> None:
    """AUTH, PBSZ, PROT, CCC (RFC 4217). No line behind AUTH is read before the reply to AUTH has come."""
    if session.options.tls == "deny":
        if command.verb == "AUTH":
            session.note("ftp.tls", mechanism=command.argument.upper(), action="answered 534")
        _answer(session, command, b"534 Request denied for policy reasons.")
        return
    _pass_on(session, command, line)
    if command.verb == "AUTH" and not session.is_over:
        session.mode, session.auth = ASKED, session.queue.youngest


COMMANDS: Mapping[str, Callable[[Session, wire.Command, bytes], None]] = {
    **dict.fromkeys(wire.TRANSFERS, _transfer),
    **dict.fromkeys((*wire.AGREEMENTS, "LPRT", "LPSV"), _agree),
    **dict.fromkeys(wire.TLS_COMMANDS, _tls),
}
"""Commands that need more than being passed on and counted."""
