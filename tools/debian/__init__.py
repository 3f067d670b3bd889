"""Debian packages of pinhole, and machines to try them on.

archive of this machine's apt --mmdebstrap--> root --+ what builds --> package
                                                     + nothing     --> machine: systemd, and the package installed
"""
