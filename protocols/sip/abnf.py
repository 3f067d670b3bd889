"""The grammar of SIP values, in the words of RFC 3261 section 25.1: addresses, URIs and Vias as pyparsing takes them.

Each piece has the name that the RFC gives it, and the rule stands above it as the RFC has it. What is read otherwise is
said below the rule, always to the same end: a value that can be read in one way only is read, and one that two readers
could read in two ways is none.

House rules:
- A whole value is one pyparsing `Regex`, put together from the pieces, and takes three microseconds. Each element of
  pyparsing takes as much, whatever it matches: the grammar composed of them, rule by rule, in
  `tests/protocols/sip/test_abnf.py` says the same of every value, and takes well over a hundred times as long.
- What is repeated can match in one way only (`*+` and `++` never give back what they took), so the work is linear in
  the length of the value. No group is repeated so: Python before 3.11.5 matches `(...)*+` wrongly (gh-106052).
- A piece in which `(?(open)...)` stands reads more within `<` and `>` than without, for there `;`, `,` and `?` are part
  of the URI: "If the URI contains a comma, question mark or semicolon, the URI MUST be enclosed in angle brackets"
  (RFC 3261 s.20).
"""

from __future__ import annotations

from pyparsing import ParserElement, Regex

# LWS = [*WSP CRLF] 1*WSP
# SWS = [LWS]
#   A fold's line end is one wherever a blank may be: head.py has already found where the field ends.
_SWS = r"[ \t\r\n]*+"
_LWS = r"[ \t\r\n]++"

# token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")
_TOKEN = r"[A-Za-z0-9.!%*_+`'~-]++"

# quoted-string = SWS DQUOTE *(qdtext / quoted-pair) DQUOTE
# qdtext        = LWS / %x21 / %x23-5B / %x5D-7E / UTF8-NONASCII
# quoted-pair   = "\" (%x00-09 / %x0B-0C / %x0E-7F)
#   Any byte but a line's end may stand behind the backslash, and any at all without one: text is no business of a hop.
_QUOTED_STRING = r'"(?:[^"\\]++|\\[^\r\n])*"'

# host          = hostname / IPv4address / IPv6reference
# hostname      = *( domainlabel "." ) toplabel ["."]
# IPv4address   = 1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT "." 1*3DIGIT
# IPv6reference = "[" IPv6address "]"
#   Which of them it is, and whether it is one at all, `read_host` decides. Hosts of Windows and of containers have `_`.
_HOST = r"(?P<host>\[[0-9A-Fa-f:.]{2,45}+\]|[A-Za-z0-9_.-]{1,255}+)"

# port = 1*DIGIT
#   Leading zeros included, five digits say all that can be a port.
_PORT = r"(?P<port>[0-9]{1,5}+)"

# hostport = host [":" port]
_HOSTPORT = rf"{_HOST}(?::{_PORT})?"

# -- URIs --------------------------------------------------------------------------------------------------------------

# userinfo = (user / telephone-subscriber) [":" password] "@"
# user     = 1*(unreserved / escaped / user-unreserved)
#   A user may hold nearly anything, also what looks like parameters (S18), and `@`. So the host begins after the last
#   `@` before the parameters of the URI, and in these there is none: whoever took another one for the sign would send
#   elsewhere. Behind `?` it may stand, for there are Call-IDs in the field that should have had theirs escaped.
_USER_IN_BRACKETS = r'[^@<>" \t\r\n]*+(?:@[^@;?<>" \t\r\n]*+(?=@))*'
_USER_ALONE = r'[^@;?,<>" \t\r\n]*+'
_USERINFO = rf"(?P<user>(?(open){_USER_IN_BRACKETS}|{_USER_ALONE}))@"

# uri-parameters = *( ";" uri-parameter)
# other-param    = pname ["=" pvalue]
#   Their names and values are told apart by URI_PARAMETER. Without brackets they are those of the field (S17).
_URI_PARAMETERS = r'(?P<uri_parameters>(?(open)(?:;[^@;?<>" \t\r\n]*+)*))'

# headers = "?" header *("&" header)
_HEADERS = r'(?(open)(?:\?[^<>" \t\r\n]*+)?)'

# SIP-URI  = "sip:" [userinfo] hostport uri-parameters [headers]
# SIPS-URI = "sips:" [userinfo] hostport uri-parameters [headers]
_SIP_URI = rf"(?P<scheme>(?i:sips?)):(?:{_USERINFO})?{_HOSTPORT}{_URI_PARAMETERS}{_HEADERS}"

# absoluteURI = scheme ":" (hier-part / opaque-part)
# scheme      = ALPHA *(ALPHA / DIGIT / "+" / "-" / ".")
#   `tel:`, `urn:` and others: nobody is looked for at what they name (S20).
_ABSOLUTE_URI = r'(?P<other>(?!(?i:sips?):)[A-Za-z][A-Za-z0-9+.-]*+):(?(open)[^<>" \t\r\n]++|[^;?,<>" \t\r\n]++)'

# addr-spec = SIP-URI / SIPS-URI / absoluteURI
_ADDR_SPEC = rf"(?P<uri>{_SIP_URI}|{_ABSOLUTE_URI})"

# -- addresses ---------------------------------------------------------------------------------------------------------

# display-name = *(token LWS) / quoted-string
#   Names of people are taken as they are if they can be told from the rest; tokens are all that they should be.
_DISPLAY_NAME = rf'(?:{_QUOTED_STRING}|[^"<>;,]*+)'

# generic-param = token [EQUAL gen-value]
# gen-value     = token / host / quoted-string
#   Names and values may hold what ends neither. No `@` where it could make the whole a URI of another host.
_GEN_VALUE = rf'(?:{_QUOTED_STRING}|(?(open)[^;,<>" \t\r\n]*+|[^@;,<>" \t\r\n]*+))'
_GENERIC_PARAM = rf'[^@;,=<>" \t\r\n]*+{_SWS}(?:={_SWS}{_GEN_VALUE}{_SWS})?'

# from-spec     = (name-addr / addr-spec) *(SEMI from-param)
# contact-param = (name-addr / addr-spec) *(SEMI contact-params)
# name-addr     = [display-name] LAQUOT addr-spec RAQUOT
#   Route, Record-Route, Refer-To and their kin are alike. Which parameters mean something depends on the field.
ADDRESS_PATTERN = (
    rf"{_SWS}(?:{_DISPLAY_NAME}{_SWS}(?P<open><))?{_ADDR_SPEC}(?(open)>){_SWS}"
    rf"(?P<parameters>(?:;{_SWS}{_GENERIC_PARAM})*)"
)

# Request-URI = SIP-URI / SIPS-URI / absoluteURI
#   It stands alone, so all parameters are its own, as within brackets: `open` is an empty group that always matches.
URI_PATTERN = rf"(?P<open>){_ADDR_SPEC}(?P<parameters>)"

# -- Via ---------------------------------------------------------------------------------------------------------------

# sent-protocol = protocol-name SLASH protocol-version SLASH transport
# SLASH         = SWS "/" SWS
_SENT_PROTOCOL = rf"(?i:SIP){_SWS}/{_SWS}{_TOKEN}{_SWS}/{_SWS}(?P<transport>{_TOKEN})"

# sent-by = host [COLON port]
# COLON   = SWS ":" SWS
_SENT_BY = rf"{_HOST}{_SWS}(?::{_SWS}{_PORT}{_SWS})?"

# via-params = via-ttl / via-maddr / via-received / via-branch / via-extension
#   All are read as via-extension = generic-param; what received, rport and maddr say is read in values.py.
_VIA_PARAMS = rf'[^;,=()<>" \t\r\n]*+{_SWS}(?:={_SWS}(?:{_QUOTED_STRING}|[^;,()<>" \t\r\n]*+){_SWS})?'

# comment = LPAREN *(ctext / quoted-pair / comment) RPAREN
#   RFC 2543 s.6.40 had one behind a Via, and old stacks send it. None within another one.
_COMMENT = rf"\([^()]*+\){_SWS}"

# via-parm = sent-protocol LWS sent-by *(SEMI via-params)
VIA_PATTERN = rf"{_SWS}{_SENT_PROTOCOL}{_LWS}{_SENT_BY}(?P<parameters>(?:;{_SWS}{_VIA_PARAMS})*)(?:{_COMMENT})*"


def _whole(pattern: str) -> ParserElement:
    """A whole value. Positions are to be those of the message: no blank is skipped, no tab made into spaces."""
    return Regex(pattern + r"\Z", as_match=True).leave_whitespace().parse_with_tabs()


ADDRESS, URI, VIA = _whole(ADDRESS_PATTERN), _whole(URI_PATTERN), _whole(VIA_PATTERN)
