"""Everything that touches the system. Engines (`protocols`) know protocols and no sockets; here it is the reverse.

The life of a connection, and where to read about each step:

    rules      text of the static firewall rules that bring packets here; `net` sets them up, `doctor` looks around them
    listener   a redirected connection is accepted; what it dialled is its local address
    policy     the first policy that matches, the helper of the port, and what NAT makes of the addresses (pure)
    sessions   limits are counted, the session begins; all of them end here when the daemon stops
    stream     the server is dialled; then bytes in -> engine -> effects out, until one of many ends
    leg        one socket of a session: sends in order, buffers, half-closes, resets
    effects    the one match statement over what an engine may want
    pinholes   what both sides agreed on: bound, listening, for one peer, for a time
    ports      which ports of the NAT range are taken (pure)
    relay      the bytes that no engine reads: splice(2)
    sockets    the only file that sets socket options
    audit      one line an event; metrics counts; control answers the command line; daemon builds all of it

Words: a *session* is one proxied TCP connection with two *legs*, a *flow* one UDP 4-tuple; a *side* is the CLIENT that
dialled or the SERVER that was dialled; an engine asks with an *expect* and gets a *grant* (an open *pinhole*) or a
*refusal*.

No step waits: from bytes in to effects done there is no `await`, so nothing can come between and nothing is locked.
"""
