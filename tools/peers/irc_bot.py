"""A user of IRC by the library python-irc, for the Python of the system, for which that is installed:
`irc_bot.py SERVER PORT NICK HOME`.

It takes up whatever it is offered. A line that comes by the pipe `pipe` in its home tells it what to do:
`send NICK FILE`, `chat NICK`, `say NICK TEXT` or `message NICK TEXT`. What it hears it writes into `heard`.
It has to be started without its own folder among the places of modules (`python3 -P`), where there is another `irc`.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import irc.client

server, port, nick = sys.argv[1:4]
home = Path(sys.argv[4])
heard = (home / "heard").open("w", 1)
chats: dict[str, Any] = {}
"""By the other user."""
coming: dict[Any, BinaryIO] = {}
going: dict[Any, bytes] = {}
"""By connection, the files that are received and those that are sent."""
reactor = irc.client.Reactor() if hasattr(irc.client, "Reactor") else irc.client.IRC()
connection = reactor.server().connect(server, int(port), nick)
own = connection.socket.getsockname()[0]
host_of = socket.gethostbyname
# The library listens where the host's name leads, which in a lab is nowhere.
socket.gethostbyname = lambda name: own if name == socket.gethostname() else host_of(name)


def offered(_: Any, event: Any) -> None:
    if event.arguments[0] != "DCC":
        return
    who, offer = event.source.nick, event.arguments[1]
    words = offer.split()
    if words[0] == "CHAT":
        chats[who] = reactor.dcc("chat").connect(irc.client.ip_numstr_to_quad(words[-2]), int(words[-1]))
        heard.write(f"dcc CHAT {who}\n")
    elif words[0] == "SEND":
        name = offer.partition('"')[2].partition('"')[0] or words[1]
        dcc = reactor.dcc("raw").connect(irc.client.ip_numstr_to_quad(words[-3]), int(words[-2]))
        coming[dcc] = (home / "down" / name).open("wb")


def came(dcc: Any, _: Any) -> None:
    """Somebody has come for what was offered."""
    if dcc in going:
        dcc.socket.setblocking(True)
        dcc.socket.sendall(going[dcc])
    for who in [who for who in chats if chats[who] is dcc]:
        heard.write(f"dcc CHAT {who}\n")


def said(dcc: Any, event: Any) -> None:
    data = event.arguments[0]
    if dcc.dcctype == "chat":
        heard.write(f"chat {data.decode()}\n")
    elif dcc in coming:
        coming[dcc].write(data)
        coming[dcc].flush()
        dcc.send_bytes(struct.pack("!I", coming[dcc].tell()))
    elif struct.unpack("!I", data[-4:])[0] == len(going[dcc]):
        dcc.disconnect()


def told(line: str) -> None:
    command, who, rest = f"{line}  ".split(" ", 2)
    rest = rest.strip()
    if command == "send":
        dcc = reactor.dcc("raw").listen()
        file, number = Path(rest), irc.client.ip_quad_to_numstr(dcc.localaddress)
        going[dcc] = file.read_bytes()
        name = f'"{file.name}"' if " " in file.name else file.name
        connection.ctcp("DCC", who, f"SEND {name} {number} {dcc.localport} {len(going[dcc])}")
    elif command == "chat":
        dcc = chats[who] = reactor.dcc("chat").listen()
        number = irc.client.ip_quad_to_numstr(dcc.localaddress)
        connection.ctcp("DCC", who, f"CHAT chat {number} {dcc.localport}")
    elif command == "say":
        chats[who].privmsg(rest)
    elif command == "message":
        connection.privmsg(who, rest)


for name, handler in {
    "welcome": lambda _, event: heard.write("connected\n"),
    "privmsg": lambda _, event: heard.write(f"message {event.arguments[0]}\n"),
    "ctcp": offered,
    "dcc_connect": came,
    "dccmsg": said,
}.items():
    reactor.add_global_handler(name, handler)
pipe = os.open(home / "pipe", os.O_RDWR)
while True:
    reactor.process_once(0.05)
    while select.select([pipe], [], [], 0)[0]:
        for line in os.read(pipe, 4096).decode().splitlines():
            told(line)
