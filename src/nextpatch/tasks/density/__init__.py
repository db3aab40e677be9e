"""Likelihoods of images by a model with the head density, and lossless compression by them."""
