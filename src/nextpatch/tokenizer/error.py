"""The one error for tokenizers that cannot be used."""

from __future__ import annotations

from nextpatch.core.errors import UserError


class TokenizerError(UserError):
    """The tokenizer cannot be used; the message names the file, the reason and the remedy."""
