"""Scaling laws: their fit to the ends of runs, what they predict, and how far they reach."""
