"""baresip as a phone: it plays a file as G.711, keeps what it sent and what it heard, and does as it is told.

Each phone has a directory, a control socket (netstrings of JSON), and one account at a registrar that it reaches by an
address of its own choice, whatever the domain says (an outbound proxy). What it plays is noise that G.711 changes no
more, so that a frame heard is, sample by sample, one that was played.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Literal

from tools.lab import Host
from tools.peers import audio
from tools.peers.kamailio import DOMAIN, password

SECONDS = 20
"""For any one thing that a phone is told or waited for."""
MODULES = "/usr/lib/baresip/modules"
_CONTROL_PORT = 4444
_PLAYED_MILLISECONDS = 60_000
"""Longer than any call."""
_RECORDING_SECONDS = 1.2
"""Recordings are named by the second in which their call began. Of two calls at once, those of a phone that is told to
call somebody else, the second must begin in another one."""
_WAV_HEADER_BYTES = 44

_CONFIG = """
module_path {modules}
module g711.so
module aufile.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
sip_listen {at}:{port}
net_interface eth0
net_af ipv{version}
audio_source aufile,{directory}/played.wav
jitter_buffer_delay 0-0
audio_channels 1
snd_path {directory}
rtp_ports {first_media}-{last_media}
ringback_disabled yes
statmode_default off
"""


class CallFailed(Exception):
    """A phone was not told of what should have happened. The text is what it said."""


class Phone:
    """A running phone. Events wait until they are asked for."""

    def __init__(self, host: Host, version: int, user: str, directory: Path, process: subprocess.Popen[Any]) -> None:
        self.host = host
        self.version = version
        self.user = user
        self.media_ports = range(0)
        self.played = b""
        """All that it has to say, as µ-law."""
        self._began = 0.0
        self._has_heard = False
        self._directory = directory
        self._process = process
        self._events: deque[dict[str, Any]] = deque()
        self._buffer = b""

    @property
    def uri(self) -> str:
        return f"sip:{self.user}@{DOMAIN}"

    def connect(self, port: int) -> None:
        """To its control socket. From inside its host."""
        self._control = socket.create_connection(("127.0.0.1", port), SECONDS)

    def close(self) -> None:
        self._control.close()

    # -- what it is told ---------------------------------------------------------------------------------------------

    def dial(self, user: str) -> None:
        self._begin()
        self._events.clear()
        self._tell("dial", f"sip:{user}@{DOMAIN}")

    def answer(self) -> None:
        """The call that it was told of."""
        self._begin()
        self._tell("accept")

    def _begin(self) -> None:
        """What was recorded of calls before goes, or it would be taken for that of the call which begins."""
        for recorded in self._directory.glob("dump-*.wav"):
            recorded.unlink()
        self._began, self._has_heard = time.monotonic(), False

    def hang_up(self) -> None:
        """Also while it rings, there or here."""
        self._tell("hangup")

    def hold(self) -> None:
        self._tell("hold")

    def resume(self) -> None:
        self._tell("resume")

    def transfer(self, user: str) -> None:
        """Ask the other party to call somebody else instead (RFC 5589: a blind transfer)."""
        time.sleep(max(0.0, self._began + _RECORDING_SECONDS - time.monotonic()))
        self._tell("transfer", f"sip:{user}@{DOMAIN}")

    def _tell(self, command: str, words: str = "") -> None:
        text = json.dumps({"command": command, "params": words, "token": "told"})
        self._control.sendall(b"%d:%b," % (len(text), text.encode()))
        answer = self._next(lambda one: one.get("token") == "told")
        if not answer["ok"]:
            raise CallFailed(f"{self.user}: {command} {words}: {answer['data']}")

    # -- what it tells -----------------------------------------------------------------------------------------------

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next such event; those before it are dropped. CallFailed when it does not come."""
        while self._events:
            if (one := self._events.popleft())["type"] == event:
                return one
        return self._next(lambda one: one.get("type") == event)

    def _next(self, is_it: Any) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while (left := end - time.monotonic()) > 0:
            one = self._read(left)
            if is_it(one):
                return one
            if one.get("event"):
                self._events.append(one)
        raise CallFailed(f"{self.user}: {self.said()}")

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next netstring."""
        while True:
            length, colon, rest = self._buffer.partition(b":")
            if colon and len(rest) > int(length):
                self._buffer = rest[int(length) + 1 :]
                one = json.loads(rest[: int(length)])
                assert isinstance(one, dict)
                return one
            self._control.settimeout(seconds)
            try:
                data = self._control.recv(65536)
            except TimeoutError:
                data = b""
            if not data:
                raise CallFailed(f"{self.user}: {self.said()}")
            self._buffer += data

    def said(self) -> str:
        return re.sub("\x1b\\[[0-9;]*m", "", (self._directory / "log").read_text(errors="replace"))[-3000:]

    # -- what passed -------------------------------------------------------------------------------------------------

    def sent(self) -> list[bytes]:
        """The frames of 20 ms of its last call so far, 16 bits a sample."""
        return self._recorded("enc")

    def heard(self) -> list[bytes]:
        return self._recorded("dec")

    def hear(self, count: int = 20) -> list[bytes]:
        """So many frames at least, of its last call. CallFailed when they do not come."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            heard = self.heard()
            if heard and not self._has_heard:
                # By now the recordings of the other phone have begun, which may be long after the call was answered.
                self._began, self._has_heard = time.monotonic(), True
            if len(heard) >= count:
                return heard
            time.sleep(0.01)
        raise CallFailed(f"{self.user} heard {len(heard)} frames: {self.said()}")

    def _recorded(self, what: str) -> list[bytes]:
        files = sorted(self._directory.glob(f"dump-*-{what}.wav"))
        # The length in the header is told when the call is over.
        return audio.frames(files[-1].read_bytes()[_WAV_HEADER_BYTES:], 2) if files else []


@contextlib.contextmanager
def phone(
    host: Host,
    user: str,
    registrar: IPv4Address | IPv6Address,
    transport: Literal["udp", "tcp"] = "udp",
    expires: int = 600,
    number: int = 0,
) -> Iterator[Phone]:
    """A phone that has registered. At the end it hangs up and removes its registration.

    number: of the phones on one host, whose ports differ by it.
    """
    with tempfile.TemporaryDirectory(prefix=f"baresip-{user}-") as made:
        directory = Path(made)
        media = range(10_000 + 100 * number, 10_100 + 100 * number)
        at, played = host.address(registrar.version), audio.noise(_PLAYED_MILLISECONDS)
        audio.write_wav(directory / "played.wav", audio.decoded(played))
        (directory / "config").write_text(
            _CONFIG.format(
                modules=MODULES,
                control=_CONTROL_PORT + number,
                at=_text(at),
                port=5060 + 2 * number,
                version=at.version,
                directory=directory,
                first_media=media[0],
                last_media=media[-1],
            )
        )
        words = [f"auth_pass={password(user)}", f'outbound="sip:{_text(registrar)}:5060;transport={transport}"']
        words += [f"regint={expires}", "audio_codecs=PCMU/8000/1", "answermode=manual"]
        for name in ("accounts", "contacts"):
            (directory / name).write_text("")
        with (directory / "log").open("wb") as log:
            process = host.popen(["baresip", "-f", directory, "-v", "-s"], stdout=log, stderr=log, cwd=directory)
        made_phone = Phone(host, at.version, user, directory, process)
        made_phone.played, made_phone.media_ports = played, media
        try:
            host.wait_until_bound("tcp", _CONTROL_PORT + number, process)
            with host.inside():
                made_phone.connect(_CONTROL_PORT + number)
            with contextlib.closing(made_phone):
                # Not from its file: it would have registered before anybody listens to what it tells.
                made_phone._tell("uanew", f"<sip:{user}@{DOMAIN}>;{';'.join(words)}")
                made_phone.wait_for("REGISTER_OK")
                yield made_phone
                made_phone._tell("quit")
                process.wait(SECONDS)
        except TimeoutError as error:
            raise CallFailed(f"{user}: baresip does not start: {made_phone.said()}") from error
        finally:
            process.kill()
            process.wait()


def _text(address: IPv4Address | IPv6Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def is_missing() -> bool:
    return shutil.which("baresip") is None
