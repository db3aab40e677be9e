"""What predicts from the trunk's features; one file a head, one line in model/names.py."""
