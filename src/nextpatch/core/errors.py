"""The base of every error that the user can mend."""

from __future__ import annotations


class UserError(ValueError):
    """Something given to nextpatch cannot be used; the message says what, where, and what to do."""


class FileError(UserError):
    """A file is damaged, or is of another kind than it should be; the message names it and the remedy."""


class ConfigError(UserError):
    """A recipe or a value in it is wrong; the message names it and the remedy."""
