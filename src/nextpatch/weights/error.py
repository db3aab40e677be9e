"""The one error for weights that cannot be used."""

from __future__ import annotations

from nextpatch.core.errors import UserError


class WeightsError(UserError):
    """The weights cannot be used; the message names the place, the reason and the remedy."""
