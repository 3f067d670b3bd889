"""Asterisk with chan_ooh323, as a phone for H.323 that says a tone and records what it hears.

It is that of Debian 11, which tools/setup unpacks with the libraries that later releases have no more; everything else
is a library of this host. Nothing of it is installed, and each one has directories of its own.
"""

from __future__ import annotations

import array
import contextlib
import math
import os
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

from tools.lab import Host
from tools.peers import audio, programs

Address = IPv4Address | IPv6Address
Form = Literal["slow", "tunnelled", "fast", "fast_tunnelled"]
FORMS: tuple[Form, ...] = ("slow", "tunnelled", "fast", "fast_tunnelled")
"""How a call may be set up: H.245 on a connection of its own or within H.225.0, before media or after."""
PORT = 1720
SECONDS = 20
TALK_SECONDS = 2.0
HEARD_SECONDS = 0.3
"""How much of that is heard at least, also on a machine that is busy with other things."""
TREE = programs.UNPACKED / "bullseye"
_PROGRAM = TREE / "usr/sbin/asterisk"
_LIBRARIES = (TREE / "usr/lib", next(TREE.glob("usr/lib/*-linux-gnu"), TREE))
_MODULES = (
    "res_sorcery_config", "res_sorcery_memory", "res_sorcery_astdb", "res_pjproject", "res_clioriginate", "pbx_config",
    "res_timing_timerfd", "codec_ulaw", "format_wav", "res_rtp_asterisk", "app_milliwatt", "app_mixmonitor",
    "bridge_simple", "chan_ooh323",
)  # fmt: skip
_TALKS = "Begin MixMonitor Recording"
_HAS_TALKED = "End MixMonitor Recording"
# The tone that it says has 16,400 in the middle, and silence a few at most.
_HEARD_LEVEL = 8000

_CONFIGURATION = {
    "asterisk.conf": """
[directories]
astetcdir => {folder}
astmoddir => {tree}/usr/lib/asterisk/modules
astdatadir => {tree}/usr/share/asterisk
astvarlibdir => {folder}
astdbdir => {folder}
astkeydir => {folder}
astagidir => {folder}
astspooldir => {folder}
astrundir => {folder}
astlogdir => {folder}
[options]
nocolor = yes
verbose = 3
""",
    "modules.conf": "[modules]\nautoload = no\n{modules}",
    "logger.conf": "[general]\n[logfiles]\nconsole => notice,warning,error,verbose\n",
    # Behind NAT media may come from another address than was said. Left to itself, Asterisk waits for four packets in a
    # row that do not come all at once, and on a busy machine they do.
    "rtp.conf": "[general]\nrtpstart = 16000\nrtpend = 16199\nstrictrtp = no\n",
    "extensions.conf": """
[default]
exten => _X.,1,Goto(talk,1)
exten => talk,1,Answer
 same => n,MixMonitor({folder}/mixed.wav,r({folder}/heard.wav))
 same => n,Milliwatt
""",
    "ooh323.conf": """
[general]
bindaddr = {address}
port = {port}
h323id = {name}
e164 = {number}
gatekeeper = {gatekeeper}
faststart = {faststart}
h245tunneling = {tunnelling}
context = default
disallow = all
allow = ulaw
{friends}""",
}


def missing() -> str:
    """What is not installed; empty when nothing is."""
    return "" if _PROGRAM.exists() else "asterisk-ooh323"


@dataclass(frozen=True, slots=True)
class Friend:
    """Whom one of them calls, or is called by. Others are refused."""

    name: str
    address: Address
    form: Form = "fast_tunnelled"

    def __str__(self) -> str:
        fast, tunnelled = self.form.startswith("fast"), self.form.endswith("tunnelled")
        words = f"type = friend\nip = {self.address}\nport = {PORT}\ncontext = default\n"
        return f"[{self.name}]\n{words}faststart = {_yes(fast)}\nh245tunneling = {_yes(tunnelled)}\n"


def in_every_form(address: Address) -> list[Friend]:
    """Somebody who is called under the name of a form in that form."""
    return [Friend(form, address, form) for form in FORMS]


class Asterisk:
    """One of them that runs."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._log = folder / "log"
        self._read = 0
        """How much of the log tells of earlier calls."""

    def command(self, *words: str) -> str:
        """What it says to a command of its console."""
        command = (_PROGRAM, "-C", self._folder / "asterisk.conf", "-rx", " ".join(words))
        return self._host.run(command, env=_environment(self._folder)).stdout

    def wait_until_registered(self) -> None:
        """Until its gatekeeper has taken its registration. Raises TimeoutError."""
        end = time.monotonic() + SECONDS
        while self.command("ooh323", "show", "gk").split()[-1:] != ["Registered"]:
            if time.monotonic() > end:
                raise TimeoutError("no gatekeeper has registered it")
            time.sleep(0.2)

    def call(self, whom: str) -> None:
        """Begin to call, and talk when that is answered. whom: `NUMBER@FRIEND`, or a number that a gatekeeper knows."""
        self.command("channel", "originate", f"OOH323/{whom}", "extension", "talk@default")

    def forget(self) -> None:
        """What has been said until now is of earlier calls."""
        self._read = self._log.stat().st_size

    def talks(self, seconds: float = SECONDS) -> bool:
        """Whether it begins to within this time."""
        return self._says(_TALKS, seconds)

    def hang_up(self) -> None:
        self.command("channel", "request", "hangup", "all")

    def has_talked(self) -> bool:
        """Whether its call is over, and recorded."""
        return self._says(_HAS_TALKED, SECONDS)

    def has_heard(self) -> bool:
        """Whether the last recording holds the tone that others say, for as long as `HEARD_SECONDS`."""
        recorded = self._folder / "heard.wav"
        try:
            with wave.open(str(recorded)) as file:
                samples = array.array("h", file.readframes(file.getnframes()))
        finally:
            recorded.unlink()
        if sys.byteorder == "big":
            samples.byteswap()
        level = math.sqrt(sum(each * each for each in samples) / len(samples)) if samples else 0
        return len(samples) >= HEARD_SECONDS * audio.RATE and level >= _HEARD_LEVEL

    def wait_for(self, words: str) -> None:
        """Until it has said this. Raises TimeoutError with what it said."""
        if not self._says(words, SECONDS):
            raise TimeoutError(f"{words!r} did not come: {self._log.read_text(errors='replace')[-3000:]}")

    def _says(self, words: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while words.encode() not in self._log.read_bytes()[self._read :]:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True


@contextlib.contextmanager
def asterisk(
    host: Host,
    address: Address,
    friends: Sequence[Friend],
    *,
    name: str,
    number: int,
    form: Form = "fast_tunnelled",
    gatekeeper: Address | None = None,
) -> Iterator[Asterisk]:
    """One at an address of a host. form: what it does where no friend says otherwise. gatekeeper: where it registers
    its name and its number. RuntimeError, with what it said, when it does not start."""
    with tempfile.TemporaryDirectory(prefix="asterisk-") as made:
        folder = Path(made)
        values = {
            "folder": folder, "tree": TREE, "address": address, "port": PORT, "name": name, "number": number,
            "modules": "".join(f"load = {module}.so\n" for module in _MODULES),
            "friends": "".join(map(str, friends)),
            "gatekeeper": gatekeeper or "DISABLE",
            "faststart": _yes(form.startswith("fast")),
            "tunnelling": _yes(form.endswith("tunnelled")),
        }  # fmt: skip
        for file, text in _CONFIGURATION.items():
            (folder / file).write_text(text.format(**values))
        # It asks for the address of its host's name, which a name server would have to tell it.
        named = ("unshare", "--uts", "sh", "-c", 'hostname localhost && exec "$@"', "sh")
        command = [*named, str(_PROGRAM), "-f", "-C", f"{folder}/asterisk.conf"]
        log = folder / "log"
        with log.open("wb") as output:
            process = host.popen(command, stdout=output, stderr=output, env=_environment(folder))
        try:
            host.wait_until_bound("tcp", PORT, process)
            found = Asterisk(host, folder)
            found.wait_for("Asterisk Ready.")
            if gatekeeper is not None:
                found.wait_until_registered()
            yield found
        except TimeoutError as error:
            raise RuntimeError(f"Asterisk: {error}: {log.read_text(errors='replace')[-3000:]}") from error
        finally:
            host.end(process, SECONDS)


def converse(caller: Asterisk, callee: Asterisk, whom: str, seconds: float = SECONDS) -> tuple[bool, bool]:
    """A call in which both talk for a while, and which the caller ends. Returns whether the caller has heard the
    callee, and whether the callee has heard the caller. Neither has when the call is not answered within `seconds`."""
    both = caller, callee
    for one in both:
        one.forget()
    caller.call(whom)
    if not all(one.talks(seconds) for one in both):
        for one in both:
            one.hang_up()
        return False, False
    time.sleep(TALK_SECONDS)
    caller.hang_up()
    for one in both:
        if not one.has_talked():
            raise TimeoutError("a call does not end")
    return caller.has_heard(), callee.has_heard()


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, _LIBRARIES)), "HOME": str(folder)}


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
