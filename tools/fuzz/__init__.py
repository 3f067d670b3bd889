"""A search for inputs that an engine does not stand, guided by what they cover: beside the random ones of the tests.

    python -m tools.fuzz sip --inputs 1000000       look for some; ends at the first one, and saves it
    python -m tools.fuzz sip .cache/fuzz/crash-...  the same input again, step by step
    python -m tools.fuzz sip --blind                what the search has kept, changed at random, without looking at it
    python -m tools.fuzz h323 --blind --further     H.245 of calls alone: connections that a message has announced

What is looked for is what tests/harness/scripts.py and tests/harness/rights.py say: no exception, nothing opened
that the session has no right to, nothing held or left for ever, nothing after the end. The first inputs are the
transcripts and captures; they are changed by their structure (mutations.py), and those that reach new code are kept in
.cache/fuzz/ENGINE.
"""
