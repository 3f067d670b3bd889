"""A kernel that takes no program: calls go on in user space, and one line says so."""

from __future__ import annotations

import errno
import sys

import pytest

from proxy.ebpf import syscall
from tests.netns.media_site import both_are_heard, site
from tests.netns.namespaces import needs_root

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

WITHOUT_BPF = f"""if True:
    import ctypes, os, struct, sys
    number, equal, answer = 0x20, 0x15, 0x06
    code = [(number, 0, 0, 0), (equal, 0, 1, {syscall._NUMBER}), (answer, 0, 0, 0x50000 | {errno.ENOSYS})]
    packed = b"".join(struct.pack("=HBBI", *one) for one in (*code, (answer, 0, 0, 0x7FFF0000)))
    kept = ctypes.create_string_buffer(packed, len(packed))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(22, 2, struct.pack("@HP", 4, ctypes.addressof(kept)), 0, 0) == 0
    os.execvp(sys.argv[1], sys.argv[1:])
"""
"""What runs a command so that bpf(2) is a call which its kernel does not know (seccomp)."""


def test_a_kernel_without_bpf_costs_no_call() -> None:
    with site("S", under=(sys.executable, "-c", WITHOUT_BPF), kernel_path="tcx", is_path_refused=True) as place:
        started = place.daemon.wait_for("daemon.started")
        assert (started["fastpath"], started["fastpath_reason"]) == ("off", "refused_by_kernel")
        talk = place.talk()
        both_are_heard(talk)
        both_are_heard(talk)
        talk.hang_up()
        said = [line for line in place.daemon.stderr.read_text().splitlines() if "kernel" in line]
        assert said == [
            "pinhole: no media passes in the kernel, which refuses the program: "
            "bpf(2), to make the table pinhole_v4_1: Function not implemented"
        ]
