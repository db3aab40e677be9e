"""What a proof tells: a claim, why it does not hold, and patches in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One claim, and why it does not hold (empty when it does)."""

    claim: str
    reason: str = ""

    @property
    def holds(self) -> bool:
        """No reason was found against it."""
        return not self.reason


def some(patches: list[int]) -> str:
    """The first of them, in words."""
    shown = ", ".join(map(str, patches[:4])) + (" ..." if len(patches) > 4 else "")
    return f"patch{'es' if len(patches) > 1 else ''} {shown}"


def are(patches: list[int]) -> str:
    """The same as a subject: "patches 1, 2 are"."""
    return f"{some(patches)} {'are' if len(patches) > 1 else 'is'}"
