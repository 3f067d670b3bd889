"""Questions of a client and answers of its server, message by message, whatever carries them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from protocols.contract.addresses import Host, Malformed, Peers
from protocols.contract.effects import Note, violation
from protocols.contract.pinholes import Pinholes
from protocols.dns.answers import LEAST_DATAGRAM, Answers, Policy, Refused
from protocols.dns.options import DnsOptions
from protocols.dns.questions import Question, Questions, Waiting
from protocols.dns.wire import (
    FORMAT_ERROR,
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    REFUSED,
    TRUNCATED,
    Opcode,
    Type,
    answer_without_records,
    is_stateful,
    question_end,
    text_of_name,
    type_name,
)

MANY_WRONG, WRONG_SECONDS = 10, 5.0
"""More answers of one server than this, within so many seconds, that nobody has asked for: somebody guesses (DN8)."""
MAX_WATCHED = 1024
"""How many servers are watched for that at once."""
_TRANSFERS = (Type.AXFR, Type.IXFR)
_TALLIED: Mapping[int, str] = {
    kind: kind.name for kind in Type if kind not in (Type.SIG, Type.OPT, Type.RRSIG, Type.TSIG)
}
"""Types that are counted by their names. The others are counted together."""
CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
"""Codes of answers by their number (RFC 1035 s.4.1.1)."""
UNANSWERED = "unanswered"


class Seen:
    """What the sessions of a daemon have seen, and what they share."""

    __slots__ = ("answers", "questions", "waiting", "wrong")

    def __init__(self) -> None:
        self.waiting = Waiting()
        self.questions: Counter[str] = Counter(dict.fromkeys([*_TALLIED.values(), "other"], 0))
        """Type -> how many questions."""
        self.answers: Counter[str] = Counter(dict.fromkeys([*CODES, "other", UNANSWERED], 0))
        """Code -> how many answers."""
        self.wrong: dict[Host, tuple[float, int]] = {}
        """Server -> since when its answers are counted that nobody has asked for, and how many there were."""

    def asked(self, kind: int) -> None:
        """A question has passed."""
        self.questions[_TALLIED.get(kind, "other")] += 1

    def are_many_wrong(self, server: Host, now: float) -> bool:
        """One more answer of this server that nobody has asked for. Returns whether they have just become too many."""
        since, count = self.wrong.get(server, (now, 0))
        if now - since > WRONG_SECONDS:
            since, count = now, 0
        if server not in self.wrong and len(self.wrong) >= MAX_WATCHED:
            self.wrong.clear()
        self.wrong[server] = since, count + 1
        return count == MANY_WRONG


class Passed(NamedTuple):
    """What becomes of one message."""

    to_server: bytes | None = None
    to_client: bytes | None = None
    notes: Sequence[Note] = ()


def read_question(message: bytes) -> int:
    """The end of the question in a client's message. A client may send none and ask for a cookie alone (RFC 7873
    s.5.4). Raises Malformed for what is no question (DN5)."""
    if len(message) < HEADER_BYTES:
        raise Malformed("no message")
    check_header(message)
    if message[5]:
        return question_end(message)
    if message[HEADER_BYTES : HEADER_BYTES + 3] != b"\0\0\x29":
        raise Malformed("no question")
    return HEADER_BYTES


def check_header(message: bytes) -> None:
    """Raises Malformed if a message that begins with these twelve bytes or more cannot be a question."""
    opcode = message[2] >> 3 & 15
    if message[2] & 0x80:
        raise Malformed("an answer of a client")
    if message[4] or message[5] > 1 or opcode == Opcode.STATEFUL:  # RFC 9619
        raise Malformed("not one question")
    if opcode == Opcode.QUERY and (message[6] or message[7]):
        raise Malformed("a question with answers")
    if not message[5] and opcode != Opcode.QUERY:
        raise Malformed("no question")


class Exchange:
    """What passes between one client and one server in a session."""

    __slots__ = ("_answers", "_is_stream", "_options", "_policy", "_seen", "_server", "questions")

    def __init__(
        self, peers: Peers, options: DnsOptions, policy: Policy, pinholes: Pinholes, seen: Seen, is_stream: bool
    ) -> None:
        self._options = options
        self._policy = policy
        self._seen = seen
        self._server = peers.server.host
        self._is_stream = is_stream
        self._answers = Answers(policy, peers, pinholes)
        self.questions = Questions(options.max_questions, seen.waiting)

    # -- questions ---------------------------------------------------------------------------------------------------

    def from_client(self, message: bytes, now: float) -> Passed:
        """A message of the client."""
        if self._is_stream and len(message) >= HEADER_BYTES and is_stateful(message):
            return Passed(to_server=message)  # no address of ours stands in it (RFC 8490)
        try:
            end = read_question(message)
            if not self.questions.has_room():
                return Passed(notes=(violation("dns.too_many", "more questions wait than may", "dropped"),))
            return self._ask(message, end, now)
        except Malformed as bad:
            if len(message) < HEADER_BYTES or message[2] & 0x80:  # an answer to an answer could go on for ever
                return Passed(notes=(violation("dns.malformed", str(bad), "dropped"),))
            told = violation("dns.malformed", str(bad), "answered FORMERR")
            return Passed(to_client=answer_without_records(message, HEADER_BYTES, FORMAT_ERROR), notes=(told,))

    def _ask(self, message: bytes, end: int, now: float) -> Passed:
        kind = message[end - 4] << 8 | message[end - 3] if end > HEADER_BYTES else 0
        renamed = None
        if kind == Type.PTR and self._policy.translates_names:
            renamed = self._answers.for_server(message, end)
        self._seen.asked(kind)
        if renamed is None:
            question = self.questions.ask(self._key(message, end), kind, now)
            question.as_asked = None
            return Passed(to_server=message)
        key = self._key(renamed.message, HEADER_BYTES + len(renamed.name) + 4)
        question = self.questions.ask(key, kind, now)
        question.as_asked, question.name = message[HEADER_BYTES:end], renamed.name
        question.most_bytes = renamed.most_bytes
        change = {
            "field": "PTR",
            "before": text_of_name(question.as_asked[:-4]),
            "after": text_of_name(renamed.name),
        }
        told = Note("address.rewritten", {"message": "question", "changes": [change]})
        return Passed(to_server=renamed.message, notes=(told,))

    def _key(self, message: bytes, end: int) -> bytes:
        question = message[HEADER_BYTES:end]
        if not self._options.match_case:
            question = question[:-4].lower() + question[-4:]  # no byte of a length is a letter
        return message[:2] + question

    # -- answers -----------------------------------------------------------------------------------------------------

    def from_server(self, message: bytes, now: float) -> Passed:
        """A message of the server."""
        if len(message) < HEADER_BYTES:
            return Passed(notes=(violation("dns.malformed", "no message", "dropped"),))
        if self._is_stream and is_stateful(message):
            return Passed(to_client=message)
        try:
            if not message[2] & 0x80:
                return self._unasked("a question of the server", now)
            if message[4] or message[5] > 1:
                raise Malformed("more than one question")
            end = question_end(message) if message[5] else HEADER_BYTES
            # An answer that repeats no question says that something is wrong, or goes on with a transfer (RFC 5936).
            is_any = end == HEADER_BYTES and (message[3] & 15 != 0 or self._is_stream)
            question = self.questions.find(self._key(message, end), is_any)
            if question is None:
                return self._unasked("an answer to no question", now)
            return self._answered(message, end, question, now)
        except Malformed as bad:
            return Passed(notes=(violation("dns.malformed", str(bad), "dropped"),))

    def _unasked(self, detail: str, now: float) -> Passed:
        notes = [violation("dns.unasked", detail, "dropped")]
        if not self._is_stream and self._seen.are_many_wrong(self._server, now):
            detail = f"more than {MANY_WRONG} answers in {WRONG_SECONDS:g} s that nobody has asked for"
            notes.append(violation("dns.spoofing", detail, "dropped"))
        return Passed(notes=notes)

    def _answered(self, message: bytes, end: int, question: Question, now: float) -> Passed:
        if question.kind in _TRANSFERS and self._is_stream:  # many messages, which are the server's own data (DN22)
            return Passed(to_client=message)
        notes: list[Note] = []
        if question.owed < 1:
            is_dropped, is_another = self._options.late == "drop", hash(message) != question.digest
            if is_another:
                action = "dropped" if is_dropped else "passed"
                notes.append(violation("dns.second_answer", "another answer to the same question", action))
            if is_dropped:
                return Passed(notes=notes)
        through, told = self._through(message, end, question)
        notes += told
        if self.questions.answer(question):
            question.digest = hash(message)
            code = message[3] & 15
            self._seen.answers[CODES[code] if code < len(CODES) else "other"] += 1
            if self._options.log_questions:
                count = message[6] << 8 | message[7]
                notes.append(_told(question, CODES[code] if code < len(CODES) else f"CODE{code}", count, now))
        return Passed(to_client=through, notes=notes)

    def _through(self, message: bytes, end: int, question: Question) -> tuple[bytes, Sequence[Note]]:
        """The answer as the client gets it. Raises Malformed."""
        if not self._policy.reads:
            return message, ()
        as_asked = question.as_asked
        asked = message[:end] if as_asked is None else message[:HEADER_BYTES] + as_asked
        try:
            through, notes = self._answers.through(message, end, question)
        except Refused as why:
            told = violation("dns.rebinding", str(why), "answered REFUSED")
            return answer_without_records(asked, len(asked), REFUSED), (told,)
        if self._is_stream:
            if len(through) > MAX_MESSAGE_BYTES:
                raise Malformed("too long with other names")
        elif len(through) > max(len(message), question.most_bytes, LEAST_DATAGRAM):
            return answer_without_records(asked, len(asked), 0, TRUNCATED), notes  # the client comes again by TCP
        return through, notes

    # -- ends --------------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> Sequence[Note]:
        """Forget questions that have waited for too long."""
        notes: list[Note] = []
        for question in self.questions.expire(now - self._options.unanswered_seconds):
            notes += self._unanswered(question, now)
        return notes

    def stop(self, now: float) -> Sequence[Note]:
        """The session is over."""
        return [note for question in self.questions.all() for note in self._unanswered(question, now)]

    def _unanswered(self, question: Question, now: float) -> Sequence[Note]:
        if question.kind in _TRANSFERS and self._is_stream:
            return ()  # nobody counted its messages
        self._seen.answers[UNANSWERED] += 1
        return (_told(question, UNANSWERED, 0, now),) if self._options.log_questions else ()


def _told(question: Question, code: str, count: int, now: float) -> Note:
    section = question.key[2:] if question.as_asked is None else question.as_asked
    name = text_of_name(section[:-4]) if section else b""
    seconds = round(now - question.asked_at, 6)
    facts = {"name": name, "type": type_name(question.kind), "code": code, "answers": count, "seconds": seconds}
    return Note("dns.question", facts)
