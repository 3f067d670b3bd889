"""RTSP: media that is asked for over TCP and flows elsewhere. engine.py reads a connection; setup.py and agreement.py
agree on media; sessions.py knows what is agreed; transport.py, wire.py and urls.py read values, messages and addresses
in them."""
