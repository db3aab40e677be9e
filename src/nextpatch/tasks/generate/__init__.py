"""Images from weights that generate: sampled, or completed from what is known, as files and in memory."""
