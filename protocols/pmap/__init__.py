"""ONC RPC portmapper and rpcbind. engine.py has the session, lookups.py what is asked, answers.py what answers open,
services.py what is open."""
