"""Real servers and clients of RTSP: GStreamer's server and rtspsrc, VLC, ffmpeg to play and to publish, aiortsp, and
clients from npm.

Servers are unpacked, not installed, with what they need beside them. A client plays until it has so many frames of
picture, so that it ends well only if the picture has come.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar

from tools.lab import Host
from tools.peers.ftp import SECONDS, TransferFailed
from tools.peers.programs import UNPACKED

Address = IPv4Address | IPv6Address
PORT, LOCKED_PORT, VLC_PORT = 554, 8554, 7070
"""Of GStreamer's server, of the same where it asks for a password, and of VLC."""
FRAMES = 12
"""Frames of picture that a client waits for: half a second of them."""
PACKETS = 24
"""The same for clients that look at none."""
BESIDE = Path(__file__).parents[2] / ".cache" / "rtsp"
"""Where tools/setup puts ffmpeg and aiortsp."""
SYSTEM_PYTHON = "/usr/bin/python3"
"""That of Debian, which has the bindings of GStreamer."""


QUIET = [
    next(map(str, BESIDE.glob("imageio_ffmpeg/binaries/ffmpeg-*")), "ffmpeg"),
    *("-hide_banner", "-nostdin", "-loglevel", "error"),
]
"""ffmpeg, saying nothing but what is wrong."""


_COMPLAINING = re.compile(rb"(gst_\w+) \(\): /")
"""The functions of GStreamer in which something went wrong, as gst-launch tells of them."""
_PAUSING = {b"gst_rtspsrc_try_send", b"gst_rtspsrc_pause"}
_CLOSING = {b"gst_rtspsrc_try_send", b"gst_rtspsrc_close"}
_NOT_LINKED = b"streaming stopped, reason not-linked"
ATTEMPTS = 3
T = TypeVar("T")


class NotPlayed(TransferFailed):
    """A client had no picture in time. It says why."""


class Stumbled(NotPlayed):
    """rtspsrc has been in its own way: see `has_stumbled`."""


@cache
def _gstreamer() -> dict[str, str]:
    """The environment in which unpacked parts of GStreamer find each other."""
    libraries = next(UNPACKED.glob("usr/lib/*/gstreamer-1.0")).parent
    own = Path("/usr/lib") / libraries.name
    scanner = own / "gstreamer1.0" / "gstreamer-1.0" / "gst-plugin-scanner"
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(libraries),
        "GI_TYPELIB_PATH": f"{libraries / 'girepository-1.0'}:{own / 'girepository-1.0'}",
        "GST_PLUGIN_SYSTEM_PATH_1_0": f"{libraries / 'gstreamer-1.0'}:{own / 'gstreamer-1.0'}",
        "GST_PLUGIN_SCANNER": str(scanner),
        "GST_REGISTRY": str(UNPACKED / "gstreamer-registry.bin"),
    }


def missing() -> str:
    """What the demo needs of all this and is not installed; empty when nothing is."""
    return "" if (UNPACKED / "usr/bin/gst-launch-1.0").exists() else "GStreamer"


@contextlib.contextmanager
def gst_server(host: Host) -> Iterator[None]:
    """GStreamer's server on a host, for IPv4 and IPv6."""
    with tempfile.TemporaryFile() as output:
        command = [SYSTEM_PYTHON, str(Path(__file__).with_name("gst_rtsp.py")), str(PORT), str(LOCKED_PORT)]
        process = host.popen(command, stdout=output, stderr=output, env=_gstreamer())
        try:
            host.wait_until_bound("tcp", LOCKED_PORT, process)
            yield
        finally:
            host.end(process, SECONDS)


@contextlib.contextmanager
def vlc_server(host: Host) -> Iterator[None]:
    """VLC on a host, which plays a picture again and again. Its ports for media begin with any number."""
    libraries = next(UNPACKED.glob("usr/lib/*/vlc")).parent
    with tempfile.TemporaryDirectory(prefix="vlc-") as made:
        Path(made).chmod(0o755)
        film = Path(made) / "film.mp4"
        picture = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-t", "20", "-c:v", "libx264", "-g", "5"]
        subprocess.run([*QUIET, *picture, "-pix_fmt", "yuv420p", film], check=True, timeout=SECONDS)
        environment = {"LD_LIBRARY_PATH": str(libraries), "VLC_PLUGIN_PATH": str(libraries / "vlc" / "plugins")}
        command = [str(UNPACKED / "usr/bin/vlc"), "-I", "dummy", "--loop", str(film)]
        command += ["--sout", f"#rtp{{sdp=rtsp://:{VLC_PORT}/live}}", "--sout-keep"]
        null = subprocess.DEVNULL
        process = host.popen(
            command, env=environment, user="nobody", group="nogroup", cwd="/", stdout=null, stderr=null
        )
        try:
            host.wait_until_bound("tcp", VLC_PORT, process, sockets=2)
            _wait_until_described(host, process)
            yield
        finally:
            host.end(process, 1)


def _wait_until_described(host: Host, process: subprocess.Popen[bytes]) -> None:
    """VLC listens before it knows what there is to play. NotPlayed when it does not come to know."""
    asked = f"DESCRIBE {url(host.v4, 'live', port=VLC_PORT)} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"

    def is_described() -> bool:
        said = b""
        with (
            contextlib.suppress(OSError),
            host.inside(),
            socket.create_connection((str(host.v4), VLC_PORT), 1) as asking,
        ):
            asking.sendall(asked.encode())
            while data := asking.recv(65536):
                said += data
                if b"m=video" in said:
                    return True
        return False

    try:
        host.wait_until(is_described, process, "VLC has nothing to play")
    except TimeoutError as late:
        raise NotPlayed(str(late)) from late


# -- clients -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """A program that plays, and the command for a URL and a transport: udp, tcp or http."""

    name: str
    command: Callable[[str, str], Sequence[str]]

    def play(self, host: Host, at: Address, transport: str = "udp", user: str = "", port: int = PORT) -> bytes:
        """`user` as viewer:secret. Returns what the client says. Raises NotPlayed."""
        return again(lambda: self.play_once(host, at, transport, user, port))

    def play_once(self, host: Host, at: Address, transport: str = "udp", user: str = "", port: int = PORT) -> bytes:
        """The same. Raises also Stumbled."""
        return run(host, self.command(url(at, "live", user, port), transport))


def url(at: Address, path: str, user: str = "", port: int = PORT) -> str:
    return f"rtsp://{user and user + '@'}{f'[{at}]' if at.version == 6 else at}:{port}/{path}"


def run(host: Host, command: Sequence[str], seconds: float = SECONDS) -> bytes:
    """Returns what the client says. Raises NotPlayed, or Stumbled."""
    environment = {**_gstreamer()} if "gst-launch" in command[0] else {**os.environ, "PYTHONPATH": str(BESIDE)}
    process = host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        host.end(process, 1)
        raise NotPlayed(f"{command[0]}: no end") from late
    if process.returncode and not has_only_cancelled_its_pause(said):
        failed = Stumbled if has_stumbled(said) else NotPlayed
        raise failed(f"{command[0]}: {said.decode(errors='replace')[-2000:]}")
    assert isinstance(said, bytes)
    return said


def again(attempt: Callable[[], T]) -> T:
    """What an attempt comes to that a client has not stumbled at. Raises whatever else it raises, and Stumbled when
    that is all that the client does."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(Stumbled):
            return attempt()
    return attempt()


def has_stumbled(said: bytes) -> bool:
    """Whether rtspsrc has ended for a packet that came before it had linked the parts that packets go through, or could
    not say TEARDOWN any more. On a busy machine it does the former once in some hundred times. The latter was seen
    once, on a connection that it reset itself when it had its picture."""
    is_not_linked = b"rtspsrc" in said.lower() and _NOT_LINKED in said
    return is_not_linked or set(_COMPLAINING.findall(said)) == _CLOSING


def has_only_cancelled_its_pause(said: bytes) -> bool:
    """Whether all that rtspsrc of GStreamer 1.22 complains of is its own doing. When the picture has come, one thread
    of it asks to pause and then to close, and the second order interrupts the other thread, which may not have sent the
    PAUSE yet. It calls that the end of the file, and goes on to TEARDOWN on the same connection."""
    return set(_COMPLAINING.findall(said)) == _PAUSING


def _ffmpeg(at: str, transport: str) -> Sequence[str]:
    return [*QUIET, "-rtsp_transport", transport, "-i", at, "-map", "0:v", "-frames:v", str(FRAMES), "-f", "null", "-"]


def _rtspsrc(at: str, transport: str) -> Sequence[str]:
    source = ["rtspsrc", "name=s", f"location={at}", f"protocols={transport}", "latency=0"]
    sink = ["identity", f"eos-after={PACKETS}", "!", "fakesink", "sync=false"]
    launch = str(UNPACKED / "usr/bin/gst-launch-1.0")
    return [launch, "-q", *source, "s.", "!", "application/x-rtp,media=video", "!", *sink]


def _aiortsp(at: str, transport: str) -> Sequence[str]:
    scheme = {"udp": "rtsp", "tcp": "rtspt"}[transport]
    reader = str(Path(__file__).with_name("rtsp_reader.py"))
    return [sys.executable, reader, at.replace("rtsp:", f"{scheme}:", 1), str(PACKETS)]


def _npm(at: str, transport: str, packets: int = PACKETS) -> Sequence[str]:
    return ["node", str(Path(__file__).with_name("rtsp_player.mjs")), at, transport, str(packets)]


FFMPEG = Client("ffmpeg", _ffmpeg)
RTSPSRC = Client("rtspsrc", _rtspsrc)
AIORTSP = Client("aiortsp", _aiortsp)
NPM = Client("npm", _npm)


def packets_taken(said: bytes) -> list[bytes]:
    """The packets of the picture among what NPM says."""
    return [bytes.fromhex(line.decode()) for line in re.findall(rb"^[0-9a-f]+$", said, re.MULTILINE)]


def play_on(host: Host, at: Address, transport: str) -> subprocess.Popen[bytes]:
    """NPM, which plays until it is ended from outside, and then without a word to the server."""
    return host.popen(_npm(url(at, "live"), transport, sys.maxsize), stdout=subprocess.DEVNULL)


def publish(host: Host, at: Address, transport: str = "udp", seconds: float = 0.7) -> None:
    """Publish a picture by ANNOUNCE and RECORD. Raises NotPlayed."""
    picture = ["-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-t", str(seconds), "-c:v", "mjpeg"]
    sent = ["-pix_fmt", "yuvj420p", "-huffman", "default", "-f", "rtsp", "-rtsp_transport", transport]
    run(host, [*QUIET, *picture, *sent, url(at, "published")])
