"""What is wrong with the YAML of a file, in words that say what to do about it."""

from __future__ import annotations

import re

import yaml

_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\](:[0-9]+)?")
"""An IPv6 address in brackets, which YAML takes for a list."""

_NO_TOKEN = re.compile(r"found character '(.+)' that cannot start any token")
_UNEXPECTED = re.compile(r"expected the node content, but found '(.+)'")
_NO_ALIAS = re.compile(r"found undefined alias '(.+)'")


def in_words(error: yaml.MarkedYAMLError, text: str) -> str:
    """The problem that PyYAML found in this text, without its place."""
    what, while_doing = error.problem or "", error.context or ""
    lines = text.splitlines()
    mark = error.problem_mark or error.context_mark
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    begun = f"in line {error.context_mark.line + 1}" if error.context_mark is not None else "above"
    if r"'\t'" in what:
        return "a tab; YAML wants blanks, in front of a line and between a key and its value"
    if (address := _ADDRESS.search(line)) and "'" not in line[: address.start()]:
        return f'an address in brackets needs quotes: "{address[0]}"'
    if "${" in line and "'{'" in what:
        return 'a variable inside braces or brackets needs quotes: "${NAME}"'
    if found := _NO_TOKEN.search(what) or _UNEXPECTED.search(what):
        return f"a value that begins with {found[1]} needs quotes"
    if "alias" in while_doing:
        return "a value that begins with * or & needs quotes"
    if found := _NO_ALIAS.search(what):
        return f"no value above is named &{found[1]}; a word that begins with * needs quotes"
    if what == "mapping values are not allowed here":
        return "a second `key:` in one line; a value with a colon at its end, or before a blank, needs quotes"
    if "could not find expected ':'" in what:
        return "expected `key: value`"
    if "flow sequence" in while_doing:
        return f"expected a comma or ] in the list that begins {begun}"
    if "flow mapping" in while_doing:
        return f"expected a comma or }} in the braces that begin {begun}"
    if "expected <block end>" in what:
        return f"this does not fit to what begins {begun}: it is indented otherwise, or a value needs quotes"
    if "quoted scalar" in while_doing and "unexpected end" in what:
        return f"the quote that opens {begun} is not closed"
    if what == "sequence entries are not allowed here":
        return "an element `- ` of a list begins in a line of its own"
    return ", ".join(filter(None, (while_doing, what)))
