"""Weights for others: graphs, other libraries' layouts, the Hub."""
