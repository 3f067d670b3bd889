"""What the control socket answers when it does not do what was asked."""

from __future__ import annotations

from proxy.control.shapes import Field, Kind, Row, Shape


class Wrong(Exception):
    """The request is not answered. It carries the status of HTTP, one snake_case word, a sentence, and what the asker
    can do."""

    def __init__(self, status: int, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.remedy = remedy

    @property
    def row(self) -> Row:
        """The answer's body."""
        return {"error": {"code": self.code, "message": self.message, "remedy": self.remedy}}


def forbidden() -> Wrong:
    """Whoever asks may not. It is made anew each time, since an exception keeps the frames that it was raised in."""
    remedy = "`control: look` and `control: change` name the groups whose members may"
    return Wrong(403, "not_allowed", "you may not do this", remedy)


def unknown(what: str, name: str, remedy: str) -> Wrong:
    """Nothing has that name."""
    return Wrong(404, f"no_such_{what}", f"there is no {what} {name}", remedy)


ERROR = Shape(
    "error",
    "Why the request was not answered.",
    {
        "error": Field(
            Kind.OBJECT, "`code` is one snake_case word, `message` says what is wrong, `remedy` what can be done"
        )
    },
)
