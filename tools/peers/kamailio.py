"""Kamailio as the registrar and proxy of `example.org`: digest authentication, forking to all contacts of a user.

It keeps nothing on disk, asks for a password at each REGISTER and each new request, and stays in the path of the calls
that it passes on (Record-Route), unless it is told not to.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.lab import Host
from tools.peers.programs import found

DOMAIN = "example.org"
SECONDS = 20

_CONFIG = """#!KAMAILIO
debug=2
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
alias="{domain}"
{listen}
mpath="{modules}"

loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"

modparam("usrloc", "db_mode", 0)
modparam("registrar", "min_expires", 1)
modparam("registrar", "append_branches", 1)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (has_totag()) {{
        if (loose_route() || (is_method("ACK") && t_check_trans())) t_relay();
        else if (!is_method("ACK")) sl_send_reply("404", "Not Here");
        exit;
    }}
    t_check_trans();
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{domain}", "secret-of-$au", "0")) {{
            www_challenge("{domain}", "0");
            exit;
        }}
        save("location");
        exit;
    }}
    if (!is_method("ACK")) {{
        if (!pv_proxy_authenticate("{domain}", "secret-of-$au", "0")) {{
            proxy_challenge("{domain}", "0");
            exit;
        }}
        consume_credentials();
    }}
    remove_hf("Route");
    {record_route}
    if (!lookup("location")) {{
        sl_send_reply("404", "Not Found");
        exit;
    }}
    t_relay();
}}
"""


def password(user: str) -> str:
    return f"secret-of-{user}"


@contextlib.contextmanager
def kamailio(host: Host, record_route: bool = True) -> Iterator[None]:
    """On port 5060 of the host, UDP and TCP, IPv4 and IPv6. RuntimeError, with what it said, when it does not start."""
    program = find()
    if program is None:
        raise RuntimeError("kamailio is not installed; tools/setup does that")
    with tempfile.TemporaryDirectory(prefix="kamailio-") as made:
        directory = Path(made)
        libraries = libraries_of(program)
        listen = [f"listen={transport}:{at}:5060" for at in (host.v4, f"[{host.v6}]") for transport in ("udp", "tcp")]
        (directory / "kamailio.cfg").write_text(
            _CONFIG.format(
                domain=DOMAIN,
                listen="\n".join(listen),
                modules=libraries / "modules",
                record_route="record_route();" if record_route else "",
            )
        )
        command = [str(program), "-DD", "-E", "-m", "16", "-M", "4", "-f", f"{directory}/kamailio.cfg"]
        command += ["-Y", made, "-P", f"{directory}/pid", "-w", made]
        log = directory / "log"
        with log.open("wb") as output:
            environment = os.environ | {"LD_LIBRARY_PATH": str(libraries)}
            process = host.popen(command, stdout=output, stderr=output, cwd=directory, env=environment)
        try:
            host.wait_until_bound("tcp", 5060, process)
            yield
        except TimeoutError as error:
            raise RuntimeError(f"kamailio does not start: {log.read_text(errors='replace')[-3000:]}") from error
        finally:
            host.end(process, SECONDS)  # which its children sometimes survive, and keep its port


def find() -> Path | None:
    """As unpacked by tools/setup, or as installed."""
    path = found("kamailio")
    return Path(path) if path else None


def libraries_of(program: Path) -> Path:
    """Where its own are, with `modules` below. Raises RuntimeError."""
    libraries = next(program.parents[1].glob("lib/*/kamailio"), None)  # lib/x86_64-linux-gnu ...
    if libraries is None:
        raise RuntimeError(f"{program} has no modules; tools/setup gets them")
    return libraries
