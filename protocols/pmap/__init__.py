"""ONC RPC portmapper and rpcbind. engine.py has the session, services.py what it opens, lookups.py what is
asked."""
