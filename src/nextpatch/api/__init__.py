"""The package as functions of Python: what the command line does, with images as a program has them."""
