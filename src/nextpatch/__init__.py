"""Next-patch prediction for images: pre-train, measure and use autoregressive image models (AIM, arXiv 2401.08541)."""
