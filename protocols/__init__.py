"""Protocol engines: pure functions of bytes and time. `HELPERS` is the registry, one line per helper."""

from __future__ import annotations

from collections.abc import Mapping

from protocols.contract.engine import Helper
from protocols.dcerpc import helper as dcerpc
from protocols.dns import engine as dns
from protocols.ftp import engine as ftp
from protocols.h323 import helper as h323
from protocols.irc import engine as irc
from protocols.mgcp import helper as mgcp
from protocols.pmap import engine as pmap
from protocols.pptp import engine as pptp
from protocols.rsh import engine as rsh
from protocols.rtsp import helper as rtsp
from protocols.sane import engine as sane
from protocols.sip import helper as sip
from protocols.tftp import engine as tftp
from protocols.tns import engine as tns

HELPERS: Mapping[str, Helper] = {
    helper.name: helper
    for helper in (
        ftp.HELPER,
        sip.HELPER,
        tns.HELPER,
        tftp.HELPER,
        rsh.HELPER,
        mgcp.HELPER,
        rtsp.HELPER,
        irc.HELPER,
        dns.HELPER,
        pmap.HELPER,
        dcerpc.HELPER,
        pptp.HELPER,
        h323.HELPER,
        h323.RAS,
        sane.HELPER,
    )
}  # fmt: skip
