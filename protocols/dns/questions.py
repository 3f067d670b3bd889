"""What has been asked in a session and not been answered yet, and what was answered a moment ago.

An answer belongs to a question if it has the same id and repeats it byte for byte (DN8): whoever forges an answer has
to guess both. Several questions may wait at once, of one port as well (DN6), and a session is over when none does.
"""

from __future__ import annotations

from collections.abc import Iterator

MOST_OF_ALL = 200_000
"""How many questions of a daemon may wait at once. Each takes some 300 bytes."""
MOST_ANSWERED = 256
"""How many answered questions of a session are remembered."""


class Question:
    """A question that has been asked, perhaps more than once."""

    __slots__ = ("as_asked", "asked_at", "digest", "key", "kind", "most_bytes", "name", "owed")

    def __init__(self, key: bytes, kind: int, now: float) -> None:
        self.key = key
        """The id and the question as they go to the server."""
        self.kind = kind
        """The type that is asked for."""
        self.asked_at = now
        self.owed = 0
        """How many answers are still to come: as many as the question was asked times."""
        self.digest = 0
        """Tells the answer that was given from others."""
        self.as_asked: bytes | None = None
        """The question section as the client wrote it. None: it went on as it came."""
        self.name = b""
        """The address name that was asked for in place of the client's (PTR), without compression."""
        self.most_bytes = 0
        """The longest datagram that the client takes, where the answer may become longer."""


class Waiting:
    """How many questions of all sessions of a daemon wait."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Questions:
    """Those of one session."""

    __slots__ = ("_answered", "_by_id", "_most", "_of_all", "_waiting")

    def __init__(self, most: int, of_all: Waiting) -> None:
        self._most = most
        self._of_all = of_all
        self._waiting: dict[bytes, Question] = {}
        """Those that wait, the one asked longest ago first."""
        self._answered: dict[bytes, Question] = {}
        """Those that have been answered, the one answered longest ago first."""
        self._by_id: dict[bytes, Question] = {}
        """id -> the last question that was asked with it."""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def has_room(self) -> bool:
        """Whether one more may wait, perhaps in the place of another one of this session."""
        return self._of_all.count < MOST_OF_ALL or bool(self._waiting)

    def ask(self, key: bytes, kind: int, now: float) -> Question:
        """A question goes to the server, for the first time or again."""
        question = self._waiting.pop(key, None)
        if question is None:
            question = self._answered.pop(key, None) or Question(key, kind, now)
            if len(self._waiting) >= self._most or self._of_all.count >= MOST_OF_ALL:
                self._forget(next(iter(self._waiting.values())))
            self._of_all.count += 1
        question.asked_at = now
        question.owed += 1
        self._waiting[key] = self._by_id[key[:2]] = question
        return question

    def find(self, key: bytes, is_any: bool) -> Question | None:
        """The question that an answer with this id and question belongs to, whether it waits or not. `is_any`: the
        answer repeats no question, and may belong to any one with its id."""
        question = self._waiting.get(key) or self._answered.get(key)
        return self._by_id.get(key[:2]) if question is None and is_any else question

    def answer(self, question: Question) -> bool:
        """An answer to this question has come. Returns whether it is owed to the client; a further one is not."""
        if question.owed < 1:
            return False
        question.owed -= 1
        if self._waiting.pop(question.key, None) is not None:
            self._of_all.count -= 1
            if len(self._answered) >= MOST_ANSWERED:
                self._leave(self._answered.pop(next(iter(self._answered))))
            self._answered[question.key] = question
        return True

    def expire(self, before: float) -> Iterator[Question]:
        """Forget what was asked before this time, and yield those questions that had no answer."""
        while self._waiting and (oldest := next(iter(self._waiting.values()))).asked_at < before:
            self._forget(oldest)
            yield oldest
        while self._answered and (oldest := next(iter(self._answered.values()))).asked_at < before:
            self._leave(self._answered.pop(oldest.key))

    def all(self) -> list[Question]:
        """Those that wait. They are forgotten, and so is all else."""
        left = list(self._waiting.values())
        self._of_all.count -= len(left)
        self._waiting.clear()
        self._answered.clear()
        self._by_id.clear()
        return left

    def _forget(self, question: Question) -> None:
        del self._waiting[question.key]
        self._of_all.count -= 1
        self._leave(question)

    def _leave(self, question: Question) -> None:
        if self._by_id.get(question.key[:2]) is question:
            del self._by_id[question.key[:2]]
