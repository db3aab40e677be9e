"""How to learn: the one loop, optimizer, schedule, checkpoints, logs, and what a run directory is."""
