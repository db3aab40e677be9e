"""Studies: variants of one recipe trained and measured alike, and what their comparison establishes."""
