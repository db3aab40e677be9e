"""Ranks, their mesh, and a model spread over them."""
