"""DCE-RPC, as Windows and Samba speak it, on port 135. helper.py has the engines, session.py what is asked and
answered on a connection, endpoints.py what is open."""
