"""What to learn from: sources of images, their order, their views. Never imports model."""
