"""What a prediction is compared with: one file a kind, one line in model/names.py."""
