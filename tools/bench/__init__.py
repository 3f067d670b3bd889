"""What pinhole costs, beside the other ways to carry the same sessions: `python -m tools.bench ftp`.

Every way but HAProxy's has a lab of its own; all labs stand for the whole run and are measured in turn, round by round,
so that whatever else the machine does touches all of them alike. The gateways are locked down: nothing passes but by
the way that is measured. README.md tells what was found.
"""
