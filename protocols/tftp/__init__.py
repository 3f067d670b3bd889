"""TFTP: files over datagrams. engine.py is the sessions, transfer.py follows one file, wire.py reads packets."""
