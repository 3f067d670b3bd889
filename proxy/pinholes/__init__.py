"""Pinholes."""
