"""A run on the disk: directory, recipe, checkpoints, logs, export."""
