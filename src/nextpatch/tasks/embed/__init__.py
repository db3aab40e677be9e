"""Features for everyone: classes, vectors and neighbors of images, from any weights."""
