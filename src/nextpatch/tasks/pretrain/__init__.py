"""Pre-training: what a run's values leave open, where it begins, and the run itself."""
