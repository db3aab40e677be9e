"""What learns: patch embedding, trunk, pixel head, objective. Never imports train or data."""
