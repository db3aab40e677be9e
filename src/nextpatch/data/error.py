"""The one error for data that cannot be used."""

from __future__ import annotations

from nextpatch.core.errors import UserError


class DataError(UserError):
    """The data cannot be used; the message names the place, the reason and the remedy."""
