"""Reads the configuration of a FortiGate, and says in our words what in it concerns helpers."""
