"""The end of a verb that is the user's to mend and is no UserError."""

from __future__ import annotations


class Failure(Exception):
    """Printed as one line, exit code 2; without a text, one rank of many leaves in silence."""
