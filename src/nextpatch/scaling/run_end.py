"""The end of a run as a law counts it: parameters, images, patches, operations, and the loss that it came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nextpatch.core.bounds import check_bounds

Counted = Literal["trunk", "all"]
MANY_EPOCHS = 4.0  # up to which repeated images are worth nearly as much as new ones; Muennighoff et al. 2023
_SAME = 1e-6  # relative difference up to which two numbers of operations are one budget


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """A run that went through its whole cosine schedule, with one seed.

    `images` are those seen, repeated ones counted again; each is `patches_per_image` patches, the unit of the paper, of
    which `scored_per_image` have a loss (None: not known). `flops` are of the whole training. `error` is that of a
    probe, in percent. `train_images` are the different images that there were.
    """

    name: str
    seed: int = 0
    params_trunk: int
    params_head: int = 0
    images: float
    patches_per_image: float = 1.0
    scored_per_image: float | None = None
    flops: float | None = None
    loss: float
    error: float | None = None
    train_images: int | None = None

    def __post_init__(self) -> None:
        check_bounds(
            self, params_trunk=(1, 1e18), params_head=(0, 1e18), images=(1e-9, 1e24), patches_per_image=(1e-9, 1e12),
            scored_per_image=(0, 1e12), flops=(1e-9, 1e40), loss=(1e-12, 1e12), error=(0, 100), train_images=(1, 1e18),
        )  # fmt: skip

    def params(self, counted: Counted) -> int:
        """N: parameters of the trunk, or with the head."""
        return self.params_trunk + (self.params_head if counted == "all" else 0)

    @property
    def patches(self) -> float:
        """D: patches of all images seen, scored or not."""
        return self.images * self.patches_per_image

    @property
    def scored(self) -> float | None:
        """Patches of all images seen that have a loss."""
        return None if self.scored_per_image is None else self.images * self.scored_per_image

    @property
    def flops_6nd(self) -> float:
        """The conventional estimate of the operations: 6 N D, with all parameters."""
        return 6.0 * self.params("all") * self.patches

    @property
    def spent(self) -> float:
        """C: operations by the formula of the project, or 6 N D where nobody says them."""
        return self.flops_6nd if self.flops is None else self.flops

    @property
    def epochs(self) -> float | None:
        """How often each image was seen."""
        return None if self.train_images is None else self.images / self.train_images

    @property
    def configuration(self) -> tuple[int, int, float]:
        """What runs have in common that differ by their seeds alone."""
        return self.params_trunk, self.params_head, self.patches


def largest_budget(ends: tuple[RunEnd, ...]) -> tuple[RunEnd, ...]:
    """Those of the configuration, or configurations, with the most operations."""
    most = max(end.spent for end in ends)
    return tuple(end for end in ends if end.spent >= most * (1 - _SAME))
