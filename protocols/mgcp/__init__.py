"""MGCP: agents that command media gateways. helper.py is where the registry looks, engine.py reads a session."""
