"""From the runs of a study, or a table of runs, to a scaling law: read, fit, write, draw."""
