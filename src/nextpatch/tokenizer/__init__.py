"""Codes of patches, for targets that are classes rather than pixels: one file a kind, one line in names.py."""
