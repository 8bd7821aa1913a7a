"""Renderers of the one report tree."""
