"""The exception that ends a verb with one line and exit code 2, where no UserError of a lower room fits."""

from __future__ import annotations


class Failure(Exception):
    """Printed as one line, exit code 2; without a text, one rank of many leaves in silence."""
