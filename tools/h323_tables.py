"""The tables of `protocols/h323/h225_types.py` and `h245_types.py`, made of the ASN.1 text that ITU-T publishes:

    python -m tools.h323_tables DIRECTORY      with H323-MESSAGES.asn (H.225.0), H235-SECURITY-MESSAGES.asn (H.235.0)
                                               and MULTIMEDIA-SYSTEM-CONTROL.asn (H.245), each as it is published

ITU-T gives the formal descriptions in its Recommendations away without charge, to be used and copied. The text itself
is not kept here: a table says what follows each other in a message, how long it is, and nothing else. The notation is
told in `protocols/h323/schema.py`.

Only the ASN.1 that these three modules use is read. Of extension additions those are kept that lead to an address, or
that `KEPT` names: a walker skips all others by their lengths.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "H225": "H323-MESSAGES.asn",
    "H235": "H235-SECURITY-MESSAGES.asn",
    "H245": "MULTIMEDIA-SYSTEM-CONTROL.asn",
}
ROOTS = {
    "H225": ("H323-UserInformation", "RasMessage"),
    "H245": ("MultimediaSystemControlMessage", "OpenLogicalChannel"),
}
KEPT = frozenset(
    (
        "callIdentifier",
        "cryptoTokens",
        "email-ID",
        "empty",
        "fastStart",
        "fullRegistrationRequired",
        "h245Control",
        "h245Tunnelling",
        "keepAlive",
        "parallelH245Control",
        "startH245",
        "t120SetupProcedure",
        "t38fax",
        "securityDenied",
        "tcp",
        "timeToLive",
        "udp",
        "url-ID",
    )
)
"""Extension additions that lead to no address and are wanted all the same."""
CARRIERS = frozenset(("H225.TransportAddress", "H245.UnicastAddress", "H245.MulticastAddress"))
_TOKEN = re.compile(r'::=|\.\.\.|\.\.|"[^"]*"|[A-Za-z&][A-Za-z0-9-]*|-?[0-9]+|[{}()\[\],;|^.:@]')
_STRINGS = {"IA5String": 8, "BMPString": 16, "NumericString": 4, "PrintableString": 8, "GeneralString": 8}
_HEAD = '''"""What stands in {what}, a line for each type (`schema.py`).

Made by `python -m tools.h323_tables` from the ASN.1 that ITU-T publishes. It is not edited by hand.
"""

TYPES = r"""
{lines}
"""
'''
_WHAT = {"H225": "messages of H.225.0: call signalling and RAS", "H245": "messages of H.245"}


class Module:
    """The types of one module of ASN.1, each as a line of the table."""

    def __init__(self, name: str, text: str) -> None:
        text = re.sub(r"--.*?(?:--|$)", " ", text, flags=re.MULTILINE)
        self.name = name
        self.tokens: list[str] = _TOKEN.findall(text[text.index("BEGIN") + 5 :])
        self.at = 0
        self.lines: dict[str, str] = {}
        self.imported: dict[str, str] = {}

    def read(self) -> None:
        """Read all types of the module."""
        if self.next_is("IMPORTS"):
            self._imports()
        while self.peek() != "END":
            name = self.take()
            parameters: dict[str, str] = {}
            if self.next_is("{"):  # all that is ever given for a parameter is the value of an open type
                parameters[self.take()] = "OPEN"
                self.expect("}")
            self.expect("::=")
            self.lines[name] = self.type(name, parameters)

    # -- tokens --------------------------------------------------------------------------------------------------------

    def peek(self) -> str:
        return self.tokens[self.at]

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def next_is(self, *words: str) -> bool:
        """Whether these tokens come next. Then they are taken."""
        found = tuple(self.tokens[self.at : self.at + len(words)]) == words
        self.at += len(words) if found else 0
        return found

    def expect(self, *words: str) -> None:
        if not self.next_is(*words):
            raise SystemExit(f"{self.name}: {words} expected at {self.tokens[self.at - 5 : self.at + 5]}")

    def _imports(self) -> None:
        names: list[str] = []
        while (word := self.take()) != ";":
            if word == "FROM":
                file = f"{self.take()}.asn"
                module = next(key for key in FILES if FILES[key] == file)
                self.imported |= dict.fromkeys(names, module)
                names.clear()
                if self.peek() == "{":
                    self._balanced()
            elif word not in "{},":
                names.append(word)

    def _balanced(self) -> list[str]:
        """Take what stands in brackets, with all brackets in it."""
        begin, depth = self.at, 0
        while True:
            word = self.take()
            depth += (word in "({") - (word in ")}")
            if not depth:
                return self.tokens[begin + 1 : self.at - 1]

    # -- types ---------------------------------------------------------------------------------------------------------

    def type(self, name: str, parameters: dict[str, str]) -> str:
        """Read a type. Returns its right side in the table; a type without a name gets one from `name`."""
        word = self.take()
        match word:
            case "SEQUENCE" | "SET" if self.peek() == "{":
                return self._fields("SEQ", name, parameters)
            case "SEQUENCE" | "SET":
                size = self._size(self._constraints())
                self.expect("OF")
                return f"LIST({size}){self._inline(name, parameters)}"
            case "CHOICE":
                return self._fields("CHOICE", name, parameters)
            case "INTEGER":
                return self._integer(self._constraints())
            case "ENUMERATED":
                words = self._balanced()
                count = sum(each == "," for each in words) + 1 - ("..." in words)
                return f"ENUM({count}){'*' if '...' in words else ''}"
            case "OCTET" | "BIT":
                self.expect("STRING")
                if self.peek() == "{":
                    self._balanced()
                kind = "OCTETS" if word == "OCTET" else "BITS"
                return f"{kind}({self._size(self._constraints())})"
            case "OBJECT":
                self.expect("IDENTIFIER")
                return "OID"
            case "BOOLEAN" | "NULL":
                return "BOOL" if word == "BOOLEAN" else "NULL"
            case "TYPE-IDENTIFIER":
                self.expect(".", "&Type")
                self._balanced()
                return "OPEN"
        return self._named(word, parameters)

    def _named(self, word: str, parameters: dict[str, str]) -> str:
        if word in _STRINGS:
            return self._string(_STRINGS[word], self._constraints())
        if word in parameters:
            return parameters[word]
        if self.peek() == "{":
            self._balanced()
        constraints = self._constraints()
        alias = self.lines.get(word, "")
        if constraints and alias.startswith("CHARS"):  # a string with a size of its own
            return f"{alias[: alias.rindex('(')]}({self._size(constraints)})"
        return f"{self.imported.get(word, self.name)}.{word}"

    def _inline(self, name: str, parameters: dict[str, str]) -> str:
        """A type within another one: what has parts of its own becomes a line of its own."""
        kind = self.type(name, parameters)
        if not kind.startswith(("SEQ", "CHOICE")):
            return kind
        while name in self.lines:
            name += "."
        self.lines[name] = kind
        return f"{self.name}.{name}"

    def _fields(self, kind: str, name: str, parameters: dict[str, str]) -> str:
        self.expect("{")
        root: list[str] = []
        added: list[str] = []
        fields, star = root, ""
        while not self.next_is("}"):
            if self.next_is("..."):
                if star:
                    raise SystemExit(f"{self.name}: a second root in {name}")
                star, fields = "*", added
            else:
                field = self.take()
                own = self._inline(f"{name}.{field}", parameters)
                is_optional = self.next_is("OPTIONAL")
                if self.next_is("DEFAULT"):
                    self.take()
                    is_optional = True
                mark = "?" if is_optional and fields is root else ""
                number = f"{len(added)}/" if fields is added else ""
                fields.append(f"{number}{field}{mark}:{own}")
            self.next_is(",")
        self._constraints()
        return " ".join([kind + star, *root, *(["|", *added] if added else [])])

    # -- constraints ---------------------------------------------------------------------------------------------------

    def _constraints(self) -> list[str]:
        words: list[str] = ["SIZE", *self._balanced()] if self.next_is("SIZE") else []
        while self.peek() == "(":
            words += self._balanced()
        return words

    @staticmethod
    def _size(words: list[str]) -> str:
        if "SIZE" not in words:
            return ""
        found = re.match(r"\(? ?(\d+)(?: \.\. (\d+))? ?(\)|$)", " ".join(words[words.index("SIZE") + 1 :]))
        if found is None:
            raise SystemExit(f"a size that cannot be read: {words}")
        return found[1] if found[2] is None else f"{found[1]}..{found[2]}"

    @staticmethod
    def _integer(words: list[str]) -> str:
        if not words:
            return "INT()"
        return f"INT({''.join(words[:3])}){'*' if '...' in words else ''}"

    def _string(self, bits: int, words: list[str]) -> str:
        alphabet = "".join(word[1:-1] for word in words if word[0] == '"')
        if alphabet:
            # Of the alphabets in use none has more than sixteen letters (X.691 s.30.5.2).
            return f"CHARS4[{''.join(sorted(alphabet))}]({self._size(words)})"
        return f"CHARS{bits}({self._size(words)})"


class Tables:
    """All modules, and what of them is wanted."""

    def __init__(self, folder: Path) -> None:
        self.lines: dict[str, str] = {}
        for name, file in FILES.items():
            module = Module(name, (folder / file).read_text())
            module.read()
            self.lines |= {f"{name}.{own}": line for own, line in module.lines.items()}
        self.carries: dict[str, bool] = {}

    def leads_to_an_address(self, name: str, above: frozenset[str] = frozenset()) -> bool:
        if name in CARRIERS:
            return True
        if name in above:
            return False
        return any(self.leads_to_an_address(other, above | {name}) for other in _types(self.lines[name]))

    def pruned(self, line: str) -> str:
        """Without the additions that nobody wants."""
        root, bar, added = line.partition(" | ")
        kept = [
            field
            for field in added.split()
            if field.partition("/")[2].partition(":")[0] in KEPT or any(map(self._carries, _types(field)))
        ]
        return root + (bar + " ".join(kept) if kept else "")

    def _carries(self, name: str) -> bool:
        if name not in self.carries:
            self.carries[name] = self.leads_to_an_address(name)
        return self.carries[name]

    def table(self, module: str) -> str:
        """All types that messages of this module are made of."""
        wanted, todo = dict[str, str](), [f"{module}.{root}" for root in ROOTS[module]]
        while todo:
            name = todo.pop(0)
            if name not in wanted:
                wanted[name] = self.pruned(self.lines[name])
                todo += _types(wanted[name])
        wrapped = (
            textwrap.fill(
                f"{name} = {line}".replace(f"{module}.", ""),
                118,
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for name, line in sorted(wanted.items())
        )
        return _HEAD.format(what=_WHAT[module], lines="\n".join(wrapped))


def _types(line: str) -> Iterator[str]:
    """The types that a line names."""
    for found in re.finditer(r"(?:^|:|\))(H2[0-9]+\.[^\s]+)", line):
        yield found[1]


def main() -> None:
    tables = Tables(Path(sys.argv[1]))
    for module in ROOTS:
        (ROOT / "protocols" / "h323" / f"{module.lower()}_types.py").write_text(tables.table(module))


if __name__ == "__main__":
    main()
