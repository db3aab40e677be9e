"""What every room stands on: files that appear whole, one writer, readers that name what is wrong, bounds."""
