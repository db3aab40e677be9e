"""From what a head knows of the next patch to a patch: by the head's own distribution, by a code, or as predicted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.distribution import Distribution, Draw, Known
from nextpatch.model.heads.noise import Noise
from nextpatch.patches import patchify
from nextpatch.sampling.config import SamplingConfig
from nextpatch.sampling.error import SamplingError
from nextpatch.tokenizer.of_model import tokenizer_of_model
from nextpatch.tokenizer.tokenizer import Tokenizer

_CODE = 0  # stream of noise


Drawer = Callable[[Tensor, Tensor | None, float, Noise, Known | None], Tensor]
"""Makes a patch for each row, normalized and not clamped: of conditions, those without a class, guidance, noise, and
what is known of the patches."""


def drawer_of(model: AIM, config: SamplingConfig, device: torch.device) -> Drawer:
    """The one of a model; SamplingError for weights that cannot sample, with what could."""
    check_generates(model)
    if model.cfg.is_distribution:
        return OfDistribution(model, config)
    if model.cfg.target == "tokens":
        return OfCodes(model, config, tokenizer_of_model(model.cfg).to(device))
    return AsPredicted(model)


def check_generates(model: AIM) -> None:
    """SamplingError for weights of another objective, without a head, or with one that needs whole sequences."""
    cfg = model.cfg
    if not cfg.start_token:
        learned = "hidden patches from the others" if cfg.objective == "masked" else "the next patch without a first"
        left_out = ", normalized, without each patch's mean and variance" if cfg.target == "norm_pixels" else ""
        raise SamplingError(
            f"these weights learned to predict {learned}{left_out} (objective {cfg.objective}), which makes good "
            "features and no images; train weights that generate: nextpatch pretrain IMAGES --model.head flow"
        )
    if not model.head.predicts:
        raise SamplingError("these weights have no head to sample with; give the run, or export it with its head")
    if not model.head.packed and not model.head.cached(cfg)[0]:
        raise SamplingError(
            f"the head {cfg.head} needs whole sequences and keeps nothing of the tokens before, so it cannot go on "
            "patch by patch; train with --model.head flow, diffusion, mlp or transformer"
        )


class OfDistribution:
    """Heads that are a distribution draw patches themselves."""

    def __init__(self, model: AIM, config: SamplingConfig) -> None:
        self._model, self._config = model, config

    def __call__(
        self, condition: Tensor, unguided: Tensor | None, guidance: float, noise: Noise, known: Known | None
    ) -> Float[Tensor, "rows values"]:
        """Without autocast: the steps from noise to a patch are many and small."""
        c = self._config
        draw = Draw(steps=c.steps, method=c.method, temperature=c.temperature, guidance=guidance)

        def drawn(head: object) -> Tensor:
            assert isinstance(head, Distribution)
            return head.sample(condition, noise, draw, unguided, known)

        return self._model.of_head(drawn)


class OfCodes:
    """A code is drawn, and decoded by itself."""

    def __init__(self, model: AIM, config: SamplingConfig, tokenizer: Tokenizer) -> None:
        if not tokenizer.local:
            raise SamplingError(
                f"the pixels of a patch follow from its code of a {tokenizer.kind} and from those around it, the later "
                "ones too, and the next patch is predicted from the pixels of those before: there are none to go on "
                "from before all codes are drawn; train with the codes of k-means: nextpatch tokenizer fit IMAGES "
                "--out FILE"
            )
        if tokenizer.left_out:
            raise SamplingError(
                f"the tokenizer leaves out the {tokenizer.left_out} of each patch, so its codes are no images; fit one "
                "of pixels as they are: nextpatch tokenizer fit IMAGES --no-norm --out FILE"
            )
        self._model, self._config, self._tokenizer = model, config, tokenizer

    def __call__(
        self, condition: Tensor, unguided: Tensor | None, guidance: float, noise: Noise, known: Known | None
    ) -> Float[Tensor, "rows values"]:
        """Known values are put in place of those of the code."""
        logits = self._model.head.pred(condition).float()
        if unguided is not None:
            without = self._model.head.pred(unguided).float()
            logits = without + guidance * (logits - without)
        c = self._config
        codes = drawn_codes(logits, noise.uniform(_CODE, 1)[:, 0], c.temperature, c.top_k, c.top_p)
        patches = decoded(self._tokenizer, codes, self._model.cfg).to(condition.dtype)
        return patches if known is None else known.values.where(known.mask, patches)


class AsPredicted:
    """Pixels that a head was trained to predict by squared error: each patch is the mean of what may be there."""

    def __init__(self, model: AIM) -> None:
        self._model = model

    def __call__(
        self, condition: Tensor, unguided: Tensor | None, guidance: float, noise: Noise, known: Known | None
    ) -> Float[Tensor, "rows values"]:
        """No chance."""
        patches: Tensor = self._model.head.pred(condition)
        if unguided is not None:
            without = self._model.head.pred(unguided)
            patches = without + guidance * (patches - without)
        return patches if known is None else known.values.where(known.mask, patches)


def drawn_codes(
    logits: Float[Tensor, "rows codes"], uniform: Float[Tensor, " rows"], temperature: float, top_k: int, top_p: float
) -> Int[Tensor, " rows"]:
    """A code of each row: where the cumulated probability, the most probable code first, reaches `uniform`.

    Of the `top_k` most probable codes (0: of all), and of these the first that hold `top_p` of the probability; the
    most probable one always. Temperature 0 takes that.
    """
    if temperature == 0:
        return logits.argmax(dim=1)
    ordered, codes = (logits.double() / temperature).sort(dim=1, descending=True, stable=True)
    if top_k:
        ordered[:, top_k:] = float("-inf")
    share = ordered.softmax(dim=1)
    share = share.where(share.cumsum(dim=1) - share < top_p, 0.0)
    total = share.cumsum(dim=1)
    place = (total < uniform[:, None] * total[:, -1:]).sum(dim=1, keepdim=True)
    return codes.gather(1, place)[:, 0]


def decoded(tokenizer: Tokenizer, codes: Int[Tensor, " rows"], cfg: ModelConfig) -> Float[Tensor, "rows values"]:
    """The patches of codes, each an image of one patch."""
    return patchify(tokenizer.decode(codes[:, None], (1, 1)), cfg.patch_size)[:, 0]
