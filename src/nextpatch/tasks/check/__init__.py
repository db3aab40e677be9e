"""Proofs that a model learns what it should."""
