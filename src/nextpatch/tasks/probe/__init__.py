"""What frozen features are worth: probes of every kind, at every depth, in one pass."""
