"""Tar shards as they are: walked without extracting, indexed once, verified when asked."""
