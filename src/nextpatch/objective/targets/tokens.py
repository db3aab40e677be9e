"""Codes of a tokenizer as targets: one logit a code, compared by cross-entropy (k-means and dVAE of Table 3a)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.core.errors import ConfigError
from nextpatch.model.aim import patches_of
from nextpatch.model.config import ModelConfig
from nextpatch.objective.chosen import Chosen
from nextpatch.objective.objective import Fill
from nextpatch.objective.targets.cross_entropy import cross_entropy, cross_entropy_sum, kept_bytes, passing_bytes
from nextpatch.objective.targets.pixels import with_statistics
from nextpatch.objective.targets.target import TargetWords
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.of_model import tokenizer_of_model
from nextpatch.tokenizer.tokenizer import Tokenizer

_SURE = 100.0  # a logit beside which all others, which are 0, do not count
_RARE = 1e-8  # the share of a code that the tokenizer never met


class Tokens:
    """The code of the patch. The input stays pixels; codes are made of the images that the model is given, when they
    are needed and where they are, never kept. The tokenizer is opened when it is first needed.
    """

    unit = "nats"

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg

    @property
    def words(self) -> TargetWords:
        """With what the tokenizer leaves out, where it is at hand."""
        try:
            left_out = self._tokenizer().left_out
        except TokenizerError:  # told where it is needed
            left_out = ""
        return TargetWords(
            f"the code of each patch after the prefix, of {self.cfg.codes:,}.", left_out, "the frequencies of the codes"
        )

    @staticmethod
    def outputs(cfg: ModelConfig) -> int:
        """One logit for each code; ConfigError while their number is open."""
        if not cfg.codes:
            raise ConfigError("model.target tokens: the number of codes is not known; give model.tokenizer FILE")
        return cfg.codes

    @torch.no_grad()
    def wanted(self, chosen: Chosen) -> Int[Tensor, "*rows"]:
        """Their codes, of float32 pixels whatever the model computes in."""
        with torch.autocast(chosen.images.device.type, enabled=False):
            tokenizer = self._tokenizer(chosen.images.device)
            if tokenizer.local:
                return tokenizer.encode_patches(chosen.patches.float())
            return chosen.of(tokenizer.encode(chosen.images.float()))

    def losses(self, predicted: Float[Tensor, "*rows codes"], wanted: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """-log of the probability of the code."""
        return cross_entropy(predicted, wanted)

    def loss_sum(self, predicted: Float[Tensor, "rows codes"], wanted: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
        """All logits at once; training takes `hidden_loss_sum`."""
        return self.losses(predicted, wanted).sum()

    def hidden_loss_sum(
        self, hidden: Float[Tensor, "rows width"], last: nn.Linear, wanted: Int[Tensor, " rows"]
    ) -> Float[Tensor, ""]:
        """The same in pieces."""
        return cross_entropy_sum(hidden, last, wanted)

    def guess(self) -> Float[Tensor, " codes"]:
        """The logarithms of the codes' frequencies on the collection that the tokenizer was fitted on."""
        return self._tokenizer().frequencies.float().clamp_min(_RARE).log()

    def perfect(self, wanted: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows codes"]:
        """All on the code."""
        return _SURE * F.one_hot(wanted, self.cfg.codes).float()

    @torch.no_grad()
    def pixels(
        self, predicted: Float[Tensor, "*rows codes"], chosen: Chosen, fill: Fill | None
    ) -> Float[Tensor, "*rows values"]:
        """The most probable codes, decoded among the true codes of all other patches."""
        images, device = chosen.images.float(), chosen.images.device
        with torch.autocast(device.type, enabled=False):
            tokenizer = self._tokenizer(device)
            codes = chosen.put(predicted.argmax(dim=-1), tokenizer.encode(images))
            drawn = chosen.of(patches_of(tokenizer.decode(codes, self.cfg.grid), self.cfg)).to(chosen.images.dtype)
            return with_statistics(drawn, chosen, fill) if tokenizer.left_out else drawn

    def beside(
        self, predicted: Float[Tensor, "*rows codes"], wanted: Int[Tensor, "*rows"]
    ) -> dict[str, Float[Tensor, "*rows"]]:
        """Whether the most probable code is the right one."""
        return {"accuracy": (predicted.argmax(dim=-1) == wanted).float()}

    def figures(self, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """Perplexity, the exponential of the loss; and accuracy, the share of codes that are predicted right."""
        return {"perplexity": math.exp(loss) if loss < 700 else math.inf, **means}

    def wanted_flops(self, scored: float) -> float:
        """The tokenizer's: of scored patches alone, or of all where a code depends on those around."""
        tokenizer = self._tokenizer()
        return tokenizer.flops_per_patch * (scored if tokenizer.local else self.cfg.num_patches)

    @staticmethod
    def row_bytes(cfg: ModelConfig, number: int) -> float:
        """The gradient by a hidden row, in place of the row itself, which the head counts."""
        return (4 - number) * _width(cfg)

    @staticmethod
    def fixed_bytes(cfg: ModelConfig, rows: float, number: int) -> float:
        """The gradient by the last layer, and what passes by when the loss of so many rows is computed."""
        return kept_bytes(0, _width(cfg), cfg.codes) + passing_bytes(rows, _width(cfg), cfg.codes, number)

    def _tokenizer(self, device: torch.device | None = None) -> Tokenizer:
        found = tokenizer_of_model(self.cfg)
        return found if device is None else found.to(device)


def _width(cfg: ModelConfig) -> int:
    """Of what the head's last layer gets."""
    return cfg.shape.head_width or cfg.shape.embed_dim
