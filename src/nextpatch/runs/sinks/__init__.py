"""Where a run's figures go beside metrics.jsonl: one file for each service, one line in names.py."""
