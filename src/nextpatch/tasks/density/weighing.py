"""The model of weights that have likelihoods, and the nats of images by it."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nextpatch.core.text import shown
from nextpatch.model.aim import AIM, patches_of
from nextpatch.model.attention import attention_mask
from nextpatch.model.heads.density import DensityHead
from nextpatch.model.start import Started
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.error import WeightsError


def weighing_model(backbone: Backbone) -> tuple[AIM, DensityHead]:
    """The model and its head; WeightsError for weights without likelihoods."""
    model = backbone.aim
    if not isinstance(model.head, DensityHead):
        said = f"the head {model.cfg.head}" if model.head.predicts else "no head"
        raise WeightsError(
            f"{shown(backbone.about.name)} has {said}, and likelihoods are those of the head density; train one: "
            "nextpatch pretrain density --data IMAGES"
        )
    if model.cfg.upscale:
        raise WeightsError(
            f"{shown(backbone.about.name)} learned images given their small versions, so it has no likelihood of an "
            "image alone; train without model.upscale"
        )
    return model, model.head


@torch.no_grad()
def image_nats(backbone: Backbone, images: UInt8[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
    """-log of the probability of each image, in nats, float64 on the CPU: the sum over its patches in their order.

    Computed in float32, no class told, nothing known before the first patch.
    """
    model, head = weighing_model(backbone)
    inputs = backbone.inputs(images)
    order = model.order()
    place = torch.arange(model.cfg.num_patches) if order is None else order
    place = place.to(inputs.device)
    patches = patches_of(inputs, model.cfg)[:, place]
    mask = attention_mask("causal", None, len(place), inputs.device)
    with torch.autocast(inputs.device.type, enabled=False):
        condition = model.generate(Started(patches[:, :-1], place), mask)
        nats = head.losses(condition.flatten(0, 1), patches.flatten(0, 1))
    return nats.view(len(images), -1).double().sum(dim=1).cpu()
