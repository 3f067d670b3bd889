"""SANE: scanners that another host offers. engine.py has the sessions, wire.py the forms of what is said."""
