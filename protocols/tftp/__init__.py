"""TFTP: files over datagrams. engine.py has the sessions, transfer.py follows one file, wire.py reads packets."""
