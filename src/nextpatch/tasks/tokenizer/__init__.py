"""Fits tokenizers, shows what their codes are, and gives the codes of images."""
