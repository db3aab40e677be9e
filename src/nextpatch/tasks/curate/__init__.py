"""What one does to a collection of images before training: look at it, count it, pack it."""
