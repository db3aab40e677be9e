"""Where a run's figures go beside metrics.jsonl: one file for each service, one word in the registry."""
