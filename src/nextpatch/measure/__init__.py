"""Metrics and results."""
