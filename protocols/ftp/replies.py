"""FTP replies: each goes on to the client, and what its code says is known of the command that it answers.

a line of the server's
  -> an inner line of a reply: goes on                            RFC 959 s.4.2
  -> the first line of one: whose turn is it (queue.py)           F5
       a 2yz to PASV or EPSV is held until it is whole            F40 to F45
  -> the last line: 1yz   the server goes ahead with a transfer   F58
                    else  REPLIES[verb] of the command that it answers, then that command is settled
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from protocols.contract.addresses import Side
from protocols.ftp import wire
from protocols.ftp.login import FIRST as LOG_IN_FIRST
from protocols.ftp.queue import Pending
from protocols.ftp.session import AGREED, MAX_REPLY_BYTES, READ, Reply, Session
from protocols.toolbox.lines import LineTooLong

CLIENT, SERVER = Side.CLIENT, Side.SERVER

CLOSING_SECONDS = 5.0
"""F16: after 421 the server closes by itself; if it does not, we do."""


def read(session: Session, line: bytes) -> None:
    """One reply line, with its end. Raises LineTooLong for a reply that is held."""
    session.heard_at = session.now
    text = wire.without_telnet(line) if 0xFF in line else line
    if (reply := session.reply) is not None:
        if wire.ends_reply(text, reply.code):
            _pass_on(session, line, reply.held)
            session.reply = None
            _ends(session, int(reply.code), reply.answered, reply.held)
        elif not _is_hidden(session, reply, text):
            _pass_on(session, line, reply.held)
        return
    match = wire.REPLY_LINE.match(text)
    if match is None:
        _without_code(session, line, text)
        return
    session.spoken.add(SERVER)
    code = int(match[1])
    answered = _turn(session, code)
    held = bytearray() if answered is not None and code // 100 == 2 and _is_passive(answered) else None
    _pass_on(session, line, held)
    if match[2]:
        session.reply = Reply(match[1], answered, held)
    else:
        _ends(session, code, answered, held)


def _without_code(session: Session, line: bytes, text: bytes) -> None:
    """A line outside of a reply has no code. Every line there should have one, but some servers put blank lines between
    replies."""
    if SERVER not in session.spoken:
        session.not_ftp("the first line is no FTP reply")
    elif text.strip():
        # If it were passed on, it would shift every later reply by one, and with them what is taken for a 227.
        session.quit(b"421 The server's reply makes no sense.", "bad_reply", "no reply code")
    else:
        _pass_on(session, line, None)


def _pass_on(session: Session, line: bytes, held: bytearray | None) -> None:
    if held is None:
        session.out.send(CLIENT, session.line_end(SERVER, line))
        return
    held += line
    if len(held) > MAX_REPLY_BYTES:
        raise LineTooLong(f"more than {MAX_REPLY_BYTES} bytes in answer to {session.queue.oldest.verb}")


def _is_hidden(session: Session, reply: Reply, text: bytes) -> bool:
    """F68, F72: a feature that would be refused is hidden from FEAT."""
    if not session.hidden or reply.answered is None or reply.answered.verb != "FEAT":
        return False
    return wire.feature(text) in session.hidden


# -- whose reply it is ---------------------------------------------------------------------------------------------


def _turn(session: Session, code: int) -> Pending | None:
    """The command that this reply answers, or None."""
    answered, unanswered = session.queue.turn(code)
    for pending in unanswered:
        _give_up(session, pending, answered, code)
    if answered is None and code != 421:
        _stray(session, f"{code} with no command pending")
    elif answered is not None and code in (227, 229) and not _is_passive(answered):
        _stray(session, f"{code} in answer to another command")
    return answered


def _give_up(session: Session, pending: Pending, answered: Pending | None, code: int) -> None:
    """The server has left this command without a reply, and answers a later one now."""
    if not session.unanswered_noted:
        session.unanswered_noted = True
        session.violation("ftp.no_reply", f"{pending.verb}: the server went on without one", "passed over")
    if pending is session.auth:
        session.mode, session.auth = READ, None
    goes_ahead = answered is not None and answered.transfer is not None and code < 400
    if pending.data is not None and goes_ahead and session.login.is_done:
        session.data.confirm(pending.data)  # PORT: its reply may have been taken for that of an older command
    session.will_not_be_answered(pending)


def _stray(session: Session, detail: str) -> None:
    """The server has sent a reply that no command asked for. It goes on as text, and nothing is opened for it (F14)."""
    if session.is_leaving or session.ending_by is not None or CLIENT in session.finished:
        return  # some servers say good-bye twice, and some say behind 421 what has failed
    if not session.stray_noted:
        session.stray_noted = True
        session.violation("ftp.unsolicited_reply", detail, "passed as text")


def _is_passive(pending: Pending) -> bool:
    return pending.verb in wire.PASSIVE_227 or pending.verb == "EPSV"


def _is_anothers(answered: Pending, code: int, held: bytearray | None) -> bool:
    """Whether a reply answers an older command, although it is the turn of a command that asks for an address. Such a
    success names no address, and could name none. So it is the second reply to the older command, and the reply that is
    waited for comes behind it."""
    if held is None or code in (227, 229) or answered.argument.upper() == b"ALL":  # EPSV ALL asks for no address
        return False
    return not wire.names_port(bytes(held))


# -- what it says --------------------------------------------------------------------------------------------------


def _ends(session: Session, code: int, answered: Pending | None, held: bytearray | None) -> None:
    """The last line of a reply has come."""
    if code == 421:
        session.ending_by = session.now + CLOSING_SECONDS
    if answered is None:
        return
    if code < 200:
        if code != 120:  # this 421 is for the service as a whole
            _transfer_starts(session, answered)
        return
    if _is_anothers(answered, code, held):
        _stray(session, f"{code} in answer to {answered.verb}")
        session.out.send(CLIENT, session.line_end(SERVER, bytes(held or b"")))
        return
    if answered.verb == "ABOR":
        if code == 426 and answered.transfer is None:
            return  # the reply of a transfer that we took for ended; ABOR's own reply follows (F10)
        if (head := session.queue.oldest).transfer is not None:
            _settle(session, head, code, b"")  # ABOR has ended the transfer, and the transfer gets no reply of its own
    _settle(session, answered, code, bytes(held or b""))


def _settle(session: Session, answered: Pending, code: int, held: bytes) -> None:
    """A command has its final reply. held: the reply's lines, if they have not gone on."""
    if why := session.login.replied(answered.verb, code):
        session.not_ftp(why)
        return
    if (handler := REPLIES.get(answered.verb)) is not None:
        handler(session, answered, code, held)
    if session.is_over:
        return
    queue, data = session.queue, session.data
    if answered.waits_for is not None and queue.coming_transfer() is None:
        data.expect_no_longer(answered.waits_for, code, session.now)
    queue.settle(answered)
    # A transfer may have been asked for before its agreement stood.
    if answered.verb in wire.AGREEMENTS and (coming := queue.coming_transfer()) and not coming.has_begun:
        data.wait(data.agreement)


def _login(session: Session, answered: Pending, code: int, _: bytes) -> None:
    """USER, PASS, ACCT: 2yz logs in, 3yz asks for more (RFC 959 s.5.4)."""
    if answered.verb == "USER":
        session.login.user = answered.argument
    if code < 300:
        session.login.done()
    if code < 300 or code >= 400:
        session.note("ftp.login", user=session.login.user, result=code)


def _rein(session: Session, answered: Pending, code: int, _: bytes) -> None:
    """F71: everything is as after the greeting; a running transfer ends by itself."""
    if code < 300:
        session.data.replace(None)
        session.agreements.is_epsv_only = session.data.is_persistent = False
        session.login.begin_again(session.now + session.options.login_seconds)


def _mode(session: Session, answered: Pending, code: int, _: bytes) -> None:
    """F57: in block and compressed mode one data connection carries many files."""
    if code < 300:
        session.data.is_persistent = answered.argument.upper() in (b"B", b"C")


def _auth(session: Session, answered: Pending, code: int, _: bytes) -> None:
    """F65, F66: 234, or 334 for mechanisms that go on; anything else leaves the session as it is."""
    session.mode, session.auth = READ, None
    if code >= 400:
        return
    if session.lines[CLIENT] or session.lines[SERVER]:
        session.injected("bytes behind AUTH or behind its reply")
        return
    session.mode, session.auth = AGREED, answered
    session.data.replace(None)
    session.note("ftp.tls", mechanism=answered.argument.upper(), action="control connection relayed unread")


def _port(session: Session, answered: Pending, code: int, _: bytes) -> None:
    """PORT and EPRT. F28: any 2yz is success."""
    if answered.data is None:
        return
    if code >= 300 or not session.login.is_done:
        session.data.close(answered.data)
        return
    session.data.confirm(answered.data)


def _passive(session: Session, answered: Pending, code: int, reply: bytes) -> None:
    """PASV and EPSV. A 2yz was held: the client is told it when its pinhole is open, or something else."""
    if code < 300 and not session.login.is_done:
        session.violation("ftp.before_login", f"{code} in answer to {answered.verb}", "answered 530")
        session.out.send(CLIENT, LOG_IN_FIRST + wire.CRLF)
    elif told := session.agreements.replied(answered, code, reply):
        session.out.send(CLIENT, told)


def _transfer(session: Session, answered: Pending, code: int, _: bytes) -> None:
    """RETR, STOR and their kin are over, for the control connection; data.py waits for the end of the data."""
    assert answered.transfer is not None
    if code < 400:
        _transfer_starts(session, answered)
    elif answered.data is not None and answered.data.used_at is None:
        session.data.close(answered.data)
    session.data.replied(answered.transfer, code, session.now)


def _transfer_starts(session: Session, answered: Pending) -> None:
    """The server goes ahead with a transfer, over the agreement of this moment or to the default data port."""
    data = session.data
    if answered.transfer is None:
        # This command is not known to move data (F58).
        answered.waits_for = data.agreement
        data.wait(answered.waits_for)
        return
    answered.transfer.has_begun = True
    if answered.data is not None and session.login.is_done:
        data.confirm(answered.data)
        answered.data = None
    data.attach(answered.transfer)


REPLIES: Mapping[str, Callable[[Session, Pending, int, bytes], None]] = {
    **dict.fromkeys(wire.TRANSFERS, _transfer),
    **dict.fromkeys((*wire.PASSIVE_227, "EPSV"), _passive),
    **dict.fromkeys(("PORT", "EPRT"), _port),
    **dict.fromkeys(wire.LOGIN, _login),
    "REIN": _rein,
    "MODE": _mode,
    "AUTH": _auth,
}
"""Final replies that change what we know, by the command that they answer."""
