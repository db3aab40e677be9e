"""Images from a model that learned to generate: from nothing, or from what is known of them."""
