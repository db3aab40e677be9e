"""The error of sampling."""

from __future__ import annotations

from nextpatch.core.errors import UserError


class SamplingError(UserError):
    """These weights cannot make such images; the message says why, and what can be done."""
