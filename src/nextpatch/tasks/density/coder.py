"""Symbols with their probabilities to bytes and back: the range coder of the library `constriction`."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Int32
from numpy.typing import NDArray

from nextpatch.core.errors import UserError

LIBRARY = "constriction"
_WORD = "<u4"  # the coder's words, as bytes of a file


class RangeWriter:
    """Takes symbols in the order in which they are decoded."""

    def __init__(self) -> None:
        library = _library()
        self._coder = library.stream.queue.RangeEncoder()
        self._family = library.stream.model.Categorical(perfect=False)

    def put(self, symbols: Int32[np.ndarray, " some"], probabilities: Float32[np.ndarray, "some levels"]) -> None:
        """Append symbols; probabilities are rounded to fixed point, none to zero."""
        self._coder.encode(symbols, self._family, probabilities)

    def finished(self) -> bytes:
        """All that was put in."""
        return np.asarray(self._coder.get_compressed()).astype(_WORD).tobytes()


class RangeReader:
    """Gives the symbols back, for the same probabilities."""

    def __init__(self, data: bytes) -> None:
        library = _library()
        words = np.frombuffer(data, _WORD).astype(np.uint32)
        self._coder = library.stream.queue.RangeDecoder(words)
        self._family = library.stream.model.Categorical(perfect=False)

    def get(self, probabilities: Float32[np.ndarray, "some levels"]) -> NDArray[np.int32]:
        """The next symbols; AssertionError of the library where the bytes cannot come from these probabilities."""
        found: NDArray[np.int32] = self._coder.decode(self._family, probabilities)
        return found


def _library() -> Any:
    try:
        import constriction
    except ImportError:
        raise UserError(
            f"compressing needs the library {LIBRARY}; install it with: pip install 'nextpatch[compress]'"
        ) from None
    return constriction
