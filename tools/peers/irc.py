"""Real servers and clients of IRC, each told in its own words to do the same: users who offer files and chats.

Servers listen on port 6667 of a host, IPv4 and IPv6, in clear. Clients take up whatever they are offered, and name the
address that they have towards the server. What a user has received lies in its `down`; what it has been told in a chat
stands in files of its own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers import programs
from tools.peers.ftp import SECONDS, TransferFailed
from tools.peers.programs import UNPACKED, program

Address = IPv4Address | IPv6Address
PORT = 6667
NAME = "irc.example"
_PYTHON = "/usr/bin/python3"
"""For which the package python3-irc is installed."""
_BOT = Path(__file__).with_name("irc_bot.py")


def missing() -> str:
    """What the demo needs of all this and is not installed; empty when nothing is."""
    has_library = subprocess.run([_PYTHON, "-c", "import irc.client"], capture_output=True, check=False)
    absent = [programs.missing("ngircd"), "python3-irc" if has_library.returncode else ""]
    return ", ".join(filter(None, absent))


# -- servers -----------------------------------------------------------------------------------------------------------

_NGIRCD = f"""
[Global]
Name = {NAME}
Info = a server
Listen = ::,0.0.0.0
Ports = {PORT}
[Limits]
MaxConnectionsIP = 0
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
IncludeDir = /nowhere
"""

_INSPIRCD = f"""
<config format="xml">
<path moduledir="{UNPACKED}/usr/lib/inspircd/modules" configdir="." datadir="." logdir="." runtimedir=".">
<server name="{NAME}" description="a server" network="lab">
<admin name="nobody" nick="nobody" email="nobody@example.org">
<bind address="" port="{PORT}" type="clients">
<connect allow="*" resolvehostnames="no" useident="no" localmax="100" globalmax="100" commandrate="100000" fakelag="no">
<module name="cap">
<module name="ircv3_echomessage">
"""

Serve = Callable[[Host], contextlib.AbstractContextManager[None]]


def _server(config: str, command: Callable[[Path], Sequence[str]], sockets: int) -> Serve:
    """sockets: at how many it listens, for both versions of IP."""

    @contextlib.contextmanager
    def serve(host: Host) -> Iterator[None]:
        with tempfile.TemporaryDirectory(prefix="ircd-") as made:
            path = Path(made) / "config"
            path.write_text(config)
            with (Path(made) / "log").open("wb") as output:
                process = host.popen(command(path), stdout=output, stderr=output, cwd=made)
            try:
                host.wait_until_bound("tcp", PORT, process, sockets=sockets)
                yield
            finally:
                host.end(process, SECONDS)

    return serve


ngircd = _server(_NGIRCD, lambda path: [program("ngircd"), "-n", "-f", str(path)], sockets=2)
inspircd = _server(
    _INSPIRCD,
    lambda path: [
        program("inspircd"), "--runasroot", "--nofork", "--nolog", "--nopid", "--config", str(path),
    ],
    sockets=1,
)  # fmt: skip
SERVERS: dict[str, Serve] = {"ngircd": ngircd, "inspircd": inspircd}


# -- users -------------------------------------------------------------------------------------------------------------


class User(ABC):
    """A user with a client, who is told what to do by a pipe."""

    speaks_ipv6 = True

    def __init__(self, host: Host, nick: str, home: Path) -> None:
        self.host = host
        self.nick = nick
        self.home = home
        self.down = home / "down"
        """Where the files lie that the user has received."""
        self.down.mkdir(parents=True)
        self._pipe = home / "pipe"
        self._tells: int | None = None
        """The end of the pipe at which the client is told."""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, server: Address) -> None:
        """Begin to connect to a server."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "TERM": "xterm"}
        with (self.home / "out").open("wb") as output:
            self.process = self.host.popen(
                self.command(server), stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment
            )

    @abstractmethod
    def command(self, server: Address) -> Sequence[str]:
        """What starts the client."""

    @abstractmethod
    def send(self, nick: str, file: Path, *, passively: bool = False) -> None:
        """Offer a file."""

    def is_done(self, nick: str) -> None:
        """The file that was sent to this user is there, and its connection may end. Most clients need not be told."""
        return

    @abstractmethod
    def offer_chat(self, nick: str, *, passively: bool = False) -> None:
        """Offer a chat."""

    @abstractmethod
    def chats(self, nick: str) -> bool:
        """Whether a chat with this user stands."""

    @abstractmethod
    def say(self, nick: str, text: str) -> None:
        """Say something in a chat that stands."""

    @abstractmethod
    def message(self, nick: str, text: str) -> None:
        """Say something by way of the server."""

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        """Until something is so. Raises TransferFailed."""
        end = time.monotonic() + SECONDS
        while not is_so():
            if time.monotonic() > end:
                raise TransferFailed(f"{self.nick}: {what}; what it has heard:\n{self.heard()[-2000:]}")
            time.sleep(0.02)

    def end(self) -> None:
        """The client is gone after that."""
        assert self.process is not None
        self.host.end(self.process, SECONDS)
        if self._tells is not None:
            os.close(self._tells)
            self._tells = None

    def wait_until_connected(self) -> None:
        self.wait(self.is_connected, "is not let in")

    @abstractmethod
    def is_connected(self) -> bool:
        """Whether its server has let it in."""

    def chat(self, other: User, *, passively: bool = False) -> None:
        """Offer a chat to another user, who takes it up; each says something and hears the other one."""
        self.offer_chat(other.nick, passively=passively)
        self.wait(lambda: self.chats(other.nick), "no chat stands")
        other.wait(lambda: other.chats(self.nick), "no chat stands")
        for one, another in ((self, other), (other, self)):
            one.say(another.nick, f"I am {one.nick}")
            another.wait_to_hear(f"I am {one.nick}")

    def wait_to_hear(self, text: str) -> None:
        self.wait(lambda: text in self.heard(), f"has not heard {text!r}")

    def heard(self) -> str:
        """What the user has been told, in chats and of the server."""
        logs = [path for path in self.home.rglob("*") if path.suffix == ".weechatlog" or path.name in ("heard", "out")]
        return "\n".join(path.read_text(errors="replace") for path in logs)

    def wait_to_receive(self, name: str, content: bytes) -> None:
        """Until a file has come."""
        path = self.down / name
        self.wait(lambda: path.exists() and path.read_bytes() == content, f"has not received {name!r}")

    def _tell(self, line: str) -> None:
        try:
            # It stays open: at its end WeeChat closes its own and opens it anew, and what is told meanwhile is lost.
            if self._tells is None:
                self._tells = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
            os.write(self._tells, f"{line}\n".encode())
        except OSError as error:
            raise TransferFailed(f"{self.nick} does not listen: {error.strerror}; {self.heard()[-2000:]}") from error


_IRSSI = """
servers = ( { address = "%s"; port = "%d"; autoconnect = "yes"; use_tls = "no"; chatnet = "lab"; } );
chatnets = { lab = { type = "IRC"; }; };
settings = {
  core = { nick = "%s"; user_name = "user"; real_name = "user"; resolve_prefer_ipv6 = "yes"; };
  "irc/dcc" = {
    dcc_autoget = "yes"; dcc_autoresume = "yes"; dcc_autochat_masks = "*!*@*"; dcc_download_path = "%s";
    dcc_file_create_mode = "644";
  };
  "irc/core" = { cmds_max_at_once = "100"; cmd_queue_speed = "10msec"; };
};
"""

_IRSSI_SCRIPT = r"""
use strict; use Irssi; use IO::Handle;
my ($home, $given) = ($ENV{HOME}, "");
open(my $heard, ">>", "$home/heard"); $heard->autoflush(1);
sub heard { print $heard join(" ", @_), "\n"; }
Irssi::signal_add("event connected", sub { heard("connected"); });
Irssi::signal_add("message private", sub { heard("message", @_[2, 1]); });
Irssi::signal_add("dcc chat message", sub { heard("chat", $_[0]->{nick}, $_[1]); });
Irssi::signal_add("dcc request", sub { heard("dcc request", $_[0]->{type}, $_[0]->{nick}, $_[0]->{arg}); });
Irssi::signal_add("dcc error connect", sub { heard("dcc failed", $_[0]->{nick}); });
Irssi::signal_add("dcc connected", sub { heard("dcc", $_[0]->{type}, $_[0]->{nick}, $_[0]->{addr}); });
open(my $pipe, "+<", "$home/pipe") or die;
Irssi::input_add(fileno($pipe), INPUT_READ, sub {
    sysread($pipe, my $data, 4096); $given .= $data;
    while ($given =~ s/^([^\n]*)\n//) { my $line = $1; (Irssi::active_server() || next)->command($line); }
}, undef);
"""


class Irssi(User):
    """It looks at its screen for a terminal, so it has one of `script`."""

    def command(self, server: Address) -> Sequence[str]:
        scripts = self.home / "scripts" / "autorun"
        scripts.mkdir(parents=True)
        (scripts / "told.pl").write_text(_IRSSI_SCRIPT)
        (self.home / "config").write_text(_IRSSI % (server, PORT, self.nick, self.down))
        os.mkfifo(self._pipe)
        return ["script", "-qec", shlex.join(["irssi", "--home", str(self.home)]), "/dev/null"]

    def is_connected(self) -> bool:
        return "connected\n" in self.heard()

    def send(self, nick: str, file: Path, *, passively: bool = False) -> None:
        self._tell(f'dcc send {"-passive " if passively else ""}{nick} "{file}"')

    def end(self) -> None:
        assert self.process is not None
        # If `script` was ended first, it would wait for two seconds.
        with contextlib.suppress(subprocess.TimeoutExpired, TransferFailed):
            self._tell("quit")
            self.process.wait(SECONDS)
        super().end()

    def is_done(self, nick: str) -> None:
        # It never ends a connection whose last acknowledgement comes before it has looked for more of the file (1.4.3).
        self._tell(f"dcc close send {nick}")

    def take(self, nick: str, name: str) -> None:
        """Take a file that was offered passively, which it does not do by itself."""
        self.wait(lambda: f"dcc request GET {nick} {name}\n" in self.heard(), f"was not offered {name}")
        self._tell(f'dcc get {nick} "{name}"')

    def offer_chat(self, nick: str, *, passively: bool = False) -> None:
        self._tell(f"dcc chat {'-passive ' if passively else ''}{nick}")

    def chats(self, nick: str) -> bool:
        return f"dcc CHAT {nick} " in self.heard()

    def say(self, nick: str, text: str) -> None:
        self._tell(f"msg ={nick} {text}")

    def message(self, nick: str, text: str) -> None:
        self._tell(f"msg {nick} {text}")


class Weechat(User):
    def command(self, server: Address) -> Sequence[str]:
        settings = {
            # Some have other names from version 4 on, and it says of each name that it does not know.
            "irc.server.lab.ssl": "off",
            "irc.server.lab.tls": "off",
            "irc.server.lab.nicks": self.nick,
            "irc.server_default.anti_flood": "0",
            "irc.server_default.anti_flood_prio_high": "0",
            "irc.server_default.anti_flood_prio_low": "0",
            "logger.file.flush_delay": "0",
            "xfer.file.auto_accept_files": "on",
            "xfer.file.auto_accept_chats": "on",
            "xfer.file.download_path": str(self.down),
            "xfer.file.use_nick_in_filename": "off",
            "xfer.file.convert_spaces": "off",
            "xfer.file.download_temporary_suffix": '""',
            "fifo.file.path": str(self._pipe),
        }
        lines = [
            f"/server add lab {server}/{PORT}",
            *(f"/set {key} {value}" for key, value in settings.items()),
            "/fifo enable",
            "/connect lab",
        ]
        return ["weechat-headless", "--dir", str(self.home), *(word for line in lines for word in ("-r", line))]

    def is_connected(self) -> bool:
        return self._pipe.exists() and f"Your host is {NAME}" in self.heard()

    def send(self, nick: str, file: Path, *, passively: bool = False) -> None:
        self._tell(f"irc.server.lab */dcc send {nick} {file}")

    def offer_chat(self, nick: str, *, passively: bool = False) -> None:
        self._tell(f"irc.server.lab */dcc chat {nick}")

    def chats(self, nick: str) -> bool:
        return f"xfer: connected to {nick} " in self.heard()

    def say(self, nick: str, text: str) -> None:
        self._tell(f"xfer.irc_dcc.lab.{nick} *{text}")

    def message(self, nick: str, text: str) -> None:
        self._tell(f"irc.server.lab */msg {nick} {text}")


class PythonIrc(User):
    """A bot of the library python-irc. It names addresses of IPv4 alone."""

    speaks_ipv6 = False

    def command(self, server: Address) -> Sequence[str]:
        os.mkfifo(self._pipe)
        return [_PYTHON, "-W", "ignore", "-P", str(_BOT), str(server), str(PORT), self.nick, str(self.home)]

    def is_connected(self) -> bool:
        return "connected\n" in self.heard()

    def send(self, nick: str, file: Path, *, passively: bool = False) -> None:
        self._tell(f"send {nick} {file}")

    def offer_chat(self, nick: str, *, passively: bool = False) -> None:
        self._tell(f"chat {nick}")

    def chats(self, nick: str) -> bool:
        return f"dcc CHAT {nick}\n" in self.heard()

    def say(self, nick: str, text: str) -> None:
        self._tell(f"say {nick} {text}")

    def message(self, nick: str, text: str) -> None:
        self._tell(f"message {nick} {text}")


CLIENTS: dict[str, type[User]] = {"irssi": Irssi, "weechat": Weechat, "python-irc": PythonIrc}


@contextlib.contextmanager
def users(server: Address, *who: tuple[type[User], Host, str]) -> Iterator[list[User]]:
    """Users with these clients, hosts and nicks, whom the server at this address has let in."""
    with tempfile.TemporaryDirectory(prefix="irc-users-") as made, contextlib.ExitStack() as stack:
        found = [client(host, nick, Path(made) / nick) for client, host, nick in who]
        for user in found:
            user.start(server)
            stack.callback(user.end)
        for user in found:
            user.wait_until_connected()
        yield found
