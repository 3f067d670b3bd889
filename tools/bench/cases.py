"""The cases of `python -m tools.bench helpers`: one line for each helper."""

from __future__ import annotations

from collections.abc import Mapping

from tools.bench import (
    case_dcerpc,
    case_dns,
    case_ftp,
    case_h323,
    case_irc,
    case_mgcp,
    case_pmap,
    case_pptp,
    case_rsh,
    case_rtsp,
    case_sane,
    case_sip,
    case_tftp,
    case_tns,
)
from tools.bench.case import Case

CASES: Mapping[str, Case] = {
    case.helper: case
    for case in (
        case_ftp.CASE,
        case_sip.CASE,
        case_tns.CASE,
        case_tftp.CASE,
        case_rtsp.CASE,
        case_rsh.CASE,
        case_mgcp.CASE,
        case_irc.CASE,
        case_dns.CASE,
        case_pmap.CASE,
        case_dcerpc.CASE,
        case_h323.CASE,
        case_h323.RAS,
        case_pptp.CASE,
        case_sane.CASE,
    )
}  # fmt: skip
