"""Adapting a trunk to labels: low-rank adapters, or all of it."""
