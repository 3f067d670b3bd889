"""The rules that a line `violation` may name."""

from __future__ import annotations

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    "pinhole.stranger": (
        "somebody else than the expected peer came to a pinhole at a port of ours; reset, and the pinhole still "
        "waits. At one on a host's own address nobody else is seen, but for the peer's own host at a port above 1023 "
        "where rsh demands one below. At one for signalling over UDP it is a session like any other, which a policy "
        "has to accept: `session.denied`. Of a tunnel it is a packet of another host, or one with another id"
    ),
    "pinhole.crowded": (
        "the expected peer came once more while it had as many connections by one pinhole as its helper allows (of "
        "DCE-RPC `max_connections`, of the portmapper 1000); reset, and the pinhole still stands"
    ),
    "session.spoofed": (
        "datagrams of a session came by an interface that does not lead to the host whose address they bear: a host "
        "on the wrong side of the gateway forges it. Dropped, and counted in `session.closed`"
    ),
    "pinhole.spoofed": (
        "the same of media and tunnels: packets that bear a party's address came by an interface that does not lead "
        "to it. Dropped, and counted in `pinhole.closed` (`packets_refused`)"
    ),
    "ftp.bounce": "PORT, EPRT: a host that is not the client",
    "ftp.low_port": "a port below `min_port` was announced",
    "ftp.bad_port": "PORT, EPRT: an announcement that cannot be read",
    "ftp.bad_227": "227, 229: an announcement that cannot be read",
    "ftp.pasv_mismatch": "227 names a host that is not the server",
    "ftp.epsv_all": "PORT, PASV and the like after EPSV ALL",
    "ftp.command_denied": "a command of `commands_denied`",
    "ftp.unsolicited_reply": (
        "a reply without a command that asked, or one that announces a port in answer to another command"
    ),
    "ftp.no_reply": (
        "the server has left a command without a reply, as some do with NOOP while data moves, and gone on to a later"
        " one; replies are followed from there. Once a session"
    ),
    "ftp.before_login": (
        "PORT, PASV and the like before a 2yz to USER, PASS or ACCT; answered 530, and nothing was opened"
    ),
    "ftp.tls_injection": "clear text glued to the beginning of TLS",
    "ftp.not_ftp": (
        "what came is another protocol: its first line, a line before the login that is one of HTTP, SMTP, IRC, SIP "
        "or RTSP, or eleven commands in a row that nobody knows (before the login), or that the server does not (500,"
        " 502)"
    ),
    "ftp.line_too_long": "a line that is too long; the session was closed",
    "ftp.nul": "a NUL in a line; the session was closed",
    "ftp.bad_reply": "a reply that cannot be followed; the session was closed",
    "ftp.too_many_pending": "more commands without a reply than can be followed; the session was closed",
    "dns.malformed": (
        "a message that is none, or whose names and records cannot be read where addresses in them may have to be "
        "translated; a question is answered with FORMERR, an answer is dropped"
    ),
    "dns.not_dns": "a connection that does not begin with a question; closed",
    "dns.too_many": "more questions wait for their answers than the daemon remembers; dropped",
    "dns.unasked": (
        "an answer to no question that waits: another id, another question, or another case of letters; dropped"
    ),
    "dns.spoofing": "more than ten such answers of one server within five seconds: somebody guesses ids and ports",
    "dns.second_answer": (
        "a further answer to a question, unlike the first: one of them is forged; dropped, or passed with `late: pass`"
    ),
    "dns.rebinding": (
        "an answer with an address of a private network, of loopback, of a link or of this gateway, for a name outside"
        " `local_domains`; the client is answered with REFUSED"
    ),
    "tns.malformed": "what is no TNS, or ends in no answer; closed",
    "tns.bad_redirect": "a redirect that cannot be read; the client is answered with a REFUSE",
    "tns.too_many_hops": "one redirect too many; the client is answered with a REFUSE",
    "tns.redirect_elsewhere": (
        "a redirect to where the policy lets nobody be led; if it names no other place, the client is answered with a"
        " REFUSE"
    ),
    "tns.tls_denied": "a connection that begins with TLS, and `tls: deny`",
    "tftp.malformed": "a request without name or mode, or too long; dropped",
    "tftp.not_tftp": (
        "a packet that belongs to no request, or that its sender may not send; dropped, and told once a transfer"
    ),
    "tftp.too_many": (
        "one port asks for file after file in a second, or for one again and again, and waits for none; dropped"
    ),
    "tftp.read": "a request that `read` denies; answered with ERROR 2",
    "tftp.write": "a request that `write` denies; answered with ERROR 2",
    "tftp.name": "a name that `names` and `deny_names` do not let pass; answered with ERROR 2",
    "tftp.too_long": (
        "a file with more than `max_bytes`, or one of which too much is repeated; both ends are told by ERROR 3, or "
        "the client alone that says so in its request"
    ),
    "tftp.reflection": (
        "a request for a client, or to a server, of whose answers in the last minute more were taken up by nobody than "
        "`unanswered_per_minute`: its source may be forged; dropped"
    ),
    "tftp.multicast_not_followed": "a server wants to send to a multicast group, which is not followed; passed on",
    "rsh.not_rsh": (
        "a connection that begins neither with a port nor as syslog; it was answered with an error and closed, as for "
        "all of these rules"
    ),
    "rsh.port": "a port for error output that is too low or too high, or spelled with too many digits",
    "rsh.source_port": (
        "a connection back to a port from 512 to 1023, for a client that does not come from such a port itself: no "
        "server of rsh trusts it, and what waits there may be somebody else's"
    ),
    "rsh.too_long": "a user, password or command that is too long",
    "rsh.user": "a user on the server whom `users` and `deny_users` do not let pass",
    "rsh.command_denied": "a command that is none of `commands`",
    "rsh.rexec_denied": "rexec, and `rexec: deny`",
    "rsh.stderr_denied": "a connection for error output is asked for, and `stderr: deny`",
    "rsh.syslog_denied": "a connection that begins as syslog does, and `syslog: deny`; closed",
    "rsh.early_answer": "a server that has agreed to a command before it was told which",
    "pptp.malformed": "what a side has sent is no message of PPTP; the connection was reset, and its tunnels closed",
    "pptp.unknown_call": (
        "a message names a call that nobody knows. It goes on as it came; so does a reply that nobody has asked for, "
        "which opens nothing"
    ),
    "pptp.too_many_calls": (
        "one call more than the connection may have (`calls`), or its client in all its connections (twice as many); "
        "it was refused"
    ),
    "pptp.incoming_denied": "the concentrator asks for a call, and `incoming_calls: deny`; it was refused",
    "ras.malformed": "a datagram that cannot be read; it passes and opens nothing, or is dropped (`malformed`)",
    "ras.elsewhere": (
        "an endpoint registers a host that is not itself, or a low port, or has answers sent to one of these; or a "
        "gatekeeper sends somebody to a host that options do not name. Nothing is opened"
    ),
    "ras.unsolicited": "an answer that no request waits for; it opens nothing",
    "ras.rate": "more requests of one host in a second than `rate`; dropped",
    "ras.too_many_registrations": "more registered addresses in a session than `max_registrations`; dropped",
    "h323.not_h323": (
        "a connection that does not begin with a Setup of its client: another protocol, TLS, or a server that speaks "
        "first; closed"
    ),
    "h323.malformed": (
        "a message, or a part of one, that cannot be read; it passes and opens nothing, or the connection is closed "
        "(`malformed`, and what is no TPKT)"
    ),
    "h323.elsewhere": (
        "a party says that it waits at a host that is neither itself nor in `media_hosts`; nothing is opened"
    ),
    "h323.low_port": "a party says that it waits at a port below 1024; nothing is opened",
    "h323.forward_elsewhere": (
        "a party sends the other one to another port than 1720 of a host that `forward_to` does not name, or of that "
        "one's own; nothing is opened"
    ),
    "h323.signed_message": (
        "an endpoint signs its messages with the addresses in them, which NAT changes: its partner will not believe "
        "them. Once a connection"
    ),
    "h323.family": "the policy translates between IPv4 and IPv6, which H.323 does not survive; the call is refused",
    "h323.t120": "a channel for T.120 data, and `t120: deny`; nothing is opened",
    "h323.rate": "more Setups of one host in a second than `rate`; refused",
    "h323.too_many_calls": "more calls than `max_calls`; refused",
    "h323.connection_full": "more calls on one connection than the 64 that one may carry; refused",
    "h323.too_many_channels": "more logical channels in a call than `max_channels`; refused",
    "mgcp.not_mgcp": "a datagram, or a part of one, that does not begin as MGCP; dropped",
    "mgcp.malformed": (
        "a message that is too long, or can be read in two ways, or too many in one datagram; a command is answered 510"
    ),
    "mgcp.agent": (
        "a command from the wrong side (only agents send CRCX and the like, only gateways NTFY and RSIP), or an agent "
        "that is none of `call_agents`; dropped"
    ),
    "mgcp.unasked": "a response without a command that has passed, or a second one; dropped",
    "mgcp.media": (
        "an agent puts the far end of a connection at a port below 1024, or at a host that `media` does not name; "
        "answered 505"
    ),
    "mgcp.bad_sdp": "a session description that cannot be read; its media is not followed",
    "mgcp.too_many": "more connections of one gateway than `max_connections`; answered 403",
    "mgcp.endpoint_full": "more connections of one endpoint than are followed; answered 403",
    "mgcp.rate": "a gateway sends more commands in a second than `rate`; dropped",
    "mgcp.unknown": "a command that RFC 3435 does not know, and `strict`; answered 504",
    "rtsp.malformed": "a message that cannot be followed; answered 400, and closed where the next one cannot be found",
    "rtsp.not_rtsp": "what came is another protocol, or HTTP that is no tunnel; closed",
    "rtsp.frame": "an interleaved frame before anybody has agreed on one; closed",
    "rtsp.destination": "SETUP has media sent to another host than its client (`destination=`)",
    "rtsp.source": "the answer to SETUP has media come from another host than the server (`source=`); nothing opened",
    "rtsp.low_port": "SETUP or its answer names a port below `min_port`; nothing was opened for that",
    "rtsp.too_many": "more streams, sessions or offers of one connection than are followed",
    "rtsp.multicast_denied": "SETUP for multicast, and `multicast: deny`",
    "rtsp.interleaved_denied": "SETUP for media in the connection itself, and `interleaved: deny`",
    "rtsp.udp_denied": "SETUP for UDP, and `force_interleaved: true`",
    "rtsp.method_denied": "a method of `methods_denied`; answered 405",
    "rtsp.tunnel_denied": "RTSP in HTTP, and `http_tunnel: deny`",
    "rtsp.tls_denied": "a connection that begins with TLS, and `tls: deny`",
    "rtsp.held_too_much": (
        "more bytes of unfinished messages of one client, or of all, than are held; that connection was closed"
    ),
    "irc.not_irc": "the first line of a client is none of IRC: the request of a browser, for example; closed",
    "irc.not_registered": "an offer before the server has let the client in; passed, and nothing was opened",
    "irc.bad_dcc": "an offer that cannot be read; passed, and nothing was opened",
    "irc.dcc_denied": "an offer of a client, and `dcc: deny`; passed, and nothing was opened",
    "irc.type_denied": "an offer of a kind that `types` does not name; passed, and nothing was opened",
    "irc.dcc_elsewhere": "an offer that names a host that is not the client; passed, and nothing was opened",
    "irc.low_port": "an offer of a port below 1024; passed, and nothing was opened",
    "irc.denied_port": "an offer of a port of `deny_ports`; passed, and nothing was opened",
    "irc.channel_offer": "an offer to a channel or to several users; passed, and nothing was opened",
    "irc.too_long": "an offer that servers would cut; passed, and nothing was opened",
    "irc.too_many": "more offers wait than `max_waiting`, or 32 of one client; passed, and nothing was opened",
    "irc.line_too_long": "a line that is too long; the session was closed",
    "irc.nul": "a NUL in a line; the session was closed",
    "irc.tls_denied": "a connection that begins with TLS, and `tls: deny`",
    "sane.not_sane": "a connection that does not begin as SANE does, as that of a browser; relayed unread, or closed",
    "sane.malformed": "what was said has no form of SANE; relayed unread from there on, or closed",
    "sane.out_of_turn": (
        "a request before the one ahead of it was answered, an answer that nobody has asked for, or a picture for a "
        "client that once did not wait; relayed unread from there on, or closed"
    ),
    "sane.low_port": "a picture at a port below 1024, or at none; the client got an error",
    "pmap.not_rpc": "what came first is no call of RPC; closed, or dropped",
    "pmap.malformed": (
        "a message that cannot be read: a stream is closed, a datagram dropped; arguments are answered "
        "garbage_arguments, and for results the client is answered system_error"
    ),
    "pmap.unsolicited": "a reply to no call; it passes, and opens nothing",
    "pmap.conflict": "a second reply to a lookup over UDP that says something else; dropped",
    "pmap.program_denied": (
        "a program that `programs` and `deny_programs` do not let clients find; they are told that it is not registered"
    ),
    "pmap.indirect": "a call that the portmapper should have made for the client (`indirect`)",
    "pmap.write": "SET or UNSET: only a server's own host registers services; answered system_error",
    "pmap.dump": "the list of all services, and `dump: deny`; answered procedure_unavailable",
    "pmap.rate": "more calls over UDP than `udp_calls` or `udp_dumps`; dropped. Once a session",
    "pmap.elsewhere": "a service at another host than the portmapper's; nothing was opened",
    "pmap.low_port": "a service at a port below `min_port`; nothing was opened",
    "pmap.denied_port": "a service at a port of others, as rsh or LDAP over TLS, which is never opened",
    "pmap.other_family": "a service at an address of the other version of IP; nothing was opened",
    "pmap.too_many": "more services of one client than `max_services`; it is told that this one is not registered",
    "pmap.held_too_much": (
        "more bytes of unfinished records on connections of one client, or of all, than are held; that connection was "
        "closed"
    ),
    "dcerpc.not_dcerpc": "what came first is no bind of DCE-RPC; closed",
    "dcerpc.malformed": (
        "a PDU that cannot be read: the connection is closed, a datagram dropped; for an ept_map or an answer that "
        "cannot be read the client is answered bad_stub_data"
    ),
    "dcerpc.unsolicited": "an answer to no call, or of the client; it passes, and opens nothing. Once a connection",
    "dcerpc.conflict": "a second answer over UDP that says something else; dropped",
    "dcerpc.interface_denied": (
        "an interface that `interfaces`, `deny_interfaces` or `policy` do not let clients find: they are told that it "
        "is not registered; with `check_bind`, one that they may not bind; over UDP dropped"
    ),
    "dcerpc.epm_write": "a call that registers endpoints or removes them; answered access_denied, over UDP dropped",
    "dcerpc.lookup": "the list of all endpoints, and `lookup: deny`; answered access_denied, over UDP dropped",
    "dcerpc.elsewhere": "an endpoint at another host than the one that was asked; nothing was opened",
    "dcerpc.low_port": "an endpoint at a port below 1024; nothing was opened",
    "dcerpc.other_port": (
        "an answer that cannot be rewritten names a port of a published server that is not open under the same number; "
        "nothing was opened"
    ),
    "dcerpc.too_many": (
        "more endpoints of one client, ports of `callbacks` among them, than `max_endpoints`; an ept_map is answered "
        "as not registered"
    ),
    "dcerpc.busy": "more calls of ept_map or ept_lookup on connections of one client than `rates`; answered too_busy",
    "dcerpc.rate": "more datagrams than `udp_calls` or `udp_lookups`; dropped. Once a session",
    "dcerpc.held_too_much": (
        "more bytes of unfinished PDUs, or of answers over UDP, in sessions of one client, or of all, than are held; "
        "that session was closed"
    ),
    "sip.malformed": (
        "what decides about an address of ours, a call or a pinhole and cannot be read; `detail` names line and "
        "column. `mended`: others could read it in another way than pinhole, so it went on without that, and the call"
        " goes its way; once a session"
    ),
    "sip.not_sip": "a stream that does not begin as SIP; closed",
    "sip.bad_sdp": "a session description that cannot be read; its media is not followed",
    "sip.low_port": "a session description with a port below 1024; that medium is not followed",
    "sip.contact_elsewhere": "REGISTER with a contact of another host, or a port below 1024; nothing was opened for it",
    "sip.method_blocked": "a method of `block_methods`",
    "sip.too_many_calls": "more calls than `max_calls`, or than are followed at all",
    "sip.too_many_registrations": (
        "more bindings of one session than `max_registrations`; the last ones cannot be called"
    ),
    "sip.rate": (
        "more requests of one method and source than `rates` has, or as many again that repeat one; one line when "
        "answers begin and one when silence does"
    ),
    "sip.tls_denied": "a connection that begins with TLS, and `tls: deny`, or it came by a pinhole",
    "sip.held_too_much": (
        "more bytes of unfinished messages on TCP connections of one client, or of all, than are held; that "
        "connection was closed"
    ),
}
"""Rule -> what happened."""
