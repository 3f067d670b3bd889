"""PPTP: control connections, and the tunnels of GRE that are agreed on in them."""
