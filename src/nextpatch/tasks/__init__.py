"""One task each: pre-train, measure, adapt, embed, publish, report, check, curate, plan."""
