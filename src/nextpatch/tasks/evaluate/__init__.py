"""Measures generated images against real ones."""
