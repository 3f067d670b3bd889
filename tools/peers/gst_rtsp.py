"""A server of RTSP by GStreamer's own library, for the Python of the system: that is the one which has its bindings.

It serves `/live`, a test picture with a tone, and takes what is published to `/published`; on a second port it serves
`/live` to those who know a password (Digest). Transport is the client's choice: UDP, interleaved, or a tunnel of HTTP.
"""

from __future__ import annotations

import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

LIVE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! jpegenc"
    " ! rtpjpegpay name=pay0 pt=26"
    " audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0 )"
)
PUBLISHED = "( rtpjpegdepay name=depay0 ! fakesink )"
KNOWN = "known"
"""The role of clients with a password."""


def factory(launch: str) -> Any:
    """A mount point."""
    made = GstRtspServer.RTSPMediaFactory()
    made.set_launch(launch)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role(KNOWN, GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    permissions.add_permission_for_role(KNOWN, GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    made.set_permissions(permissions)
    return made


def serving(port: str) -> Any:
    """A server on all addresses."""
    server = GstRtspServer.RTSPServer()
    server.set_address("::")
    server.set_service(port)
    server.get_mount_points().add_factory("/live", factory(LIVE))
    return server


def locked() -> Any:
    """Who may come in: those who know the password."""
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, KNOWN)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest("viewer", "secret", token)
    return auth


Gst.init(None)
everybodys = serving(sys.argv[1])
published = factory(PUBLISHED)
published.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
everybodys.get_mount_points().add_factory("/published", published)
viewers = serving(sys.argv[2])
viewers.set_auth(locked())
everybodys.attach(None)
viewers.attach(None)
GLib.MainLoop().run()
