"""Everything that touches the system. Engines (`protocols`) know protocols and no sockets; here it is the reverse.

The life of a connection, and where to read about each step:

    host/rules           the text of the static firewall rules that bring packets here; `host/net` sets them up
    sessions/listener    accepts a redirected connection; what the client dialled is the socket's local address
    sessions/policy      the first policy that matches, the helper of the port, and what NAT does to the addresses
    sessions/registry    counts the limits and begins the session; ends all of them when the daemon stops
    sessions/stream      dials the server; then bytes in -> engine -> effects out, until the session ends
    sessions/leg         one socket of a session: sends in order, buffers, half-closes, resets
    sessions/effects     the one match statement over what an engine may want
    pinholes             what both sides agreed on: bound, listening, for certain peers, for a time
    sockets/ports        which ports of the NAT range are taken (pure)
    movers               the bytes that no engine reads: splice(2) for TCP, lanes for datagrams
    sockets              the only room that sets socket options
    record, daemon       the audit log and the counters; what builds all parts and answers the command line

Words: a *session* is one proxied TCP connection with two *legs*, a *flow* one UDP 4-tuple; a *side* is the CLIENT that
dialled or the SERVER that was dialled; an engine asks with an *expect* and gets a *grant* (an open *pinhole*) or a
*refusal*.

No step waits: from bytes in to effects done there is no `await`, so nothing can come between and nothing is locked.
"""
