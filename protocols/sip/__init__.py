"""SIP (RFC 3261): calls, registrations and subscriptions, and the media and requests that they expect."""
