"""Training steps of another make are judged by the same proofs, as they are: small ones here, two libraries if there.

The libraries are no dependencies. To run their tests, give a folder that holds them:

    PYTHONPATH=/path/to/site-packages python -m pytest -m slow tests/tasks/check/test_foreign.py
"""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextpatch.core.errors import UserError
from nextpatch.objective.next_patch import PREFIX_LEN, with_prefix
from nextpatch.objective.objective import Draws
from nextpatch.patches import normalize_patches, patchify
from nextpatch.tasks.check.foreign import check_foreign, next_patch
from nextpatch.tasks.check.told import Verdict

P, SIDE = 4, 3
K = SIDE**2
ONLY_ONE = with_prefix(torch.tensor([1]))


def images(side: int = SIDE, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, channels, side * P, side * P, generator=generator, dtype=torch.float64)


def failed(verdicts: list[Verdict]) -> str:
    return "\n".join(f"{verdict.claim}: {verdict.reason}" for verdict in verdicts if not verdict.holds)


class Small(nn.Module):
    """A next-patch predictor with the loss in its step, as others write it; dropout and all."""

    def __init__(self, shift: int = 1, inverted: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.qkv, self.head = nn.Linear(P * P * 3, 3 * 24), nn.Linear(24, P * P * 3)
            self.again = nn.Linear(24, 3 * 24)
        self.shift, self.inverted, self.drop = shift, inverted, nn.Dropout(0.1)
        self.double()

    def losses(self, images: Tensor, draws: Draws) -> Tensor:
        prefix_len, patches = draws[PREFIX_LEN], patchify(images, P)
        key = torch.arange(K)
        mask = (key <= key[:, None]) | (key < prefix_len[:, None, None])
        mask = ~mask if self.inverted else mask
        x = patches
        for layer in (self.qkv, self.again):
            q, k, v = self.drop(layer(x)).chunk(3, dim=-1)
            x = v + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        predicted = self.head(x)[:, : K - self.shift]
        error = (predicted - normalize_patches(patches)[:, self.shift :]).square().mean(-1)
        return error * (torch.arange(self.shift, K) >= prefix_len[:, None])

    def step(self, images: Tensor, draws: Draws) -> Tensor:
        return self.losses(images, draws).sum() / (K - draws[PREFIX_LEN]).sum()


def test_a_correct_step_of_another_make_passes_with_its_head_and_by_its_losses_alone() -> None:
    theirs = Small()
    assert failed(check_foreign(theirs.step, images(), P, head=theirs.head)) == ""
    assert failed(check_foreign(theirs.losses, images(), P)) == ""


@pytest.mark.parametrize(
    ("theirs", "reason", "by_losses"),
    [
        (Small(shift=0), "which it sees: the one-patch shift is missing and the model learns to copy",
         "does not depend on patch 1: the one-patch shift is missing"),
        (Small(inverted=True), "the attention mask is inverted", "the attention mask is inverted"),
    ],
    ids=["copy", "inverted"],
)  # fmt: skip
def test_a_faulty_step_is_told_by_its_head_and_by_its_losses(theirs: Small, reason: str, by_losses: str) -> None:
    assert reason in failed(check_foreign(theirs.step, images(), P, head=theirs.head))
    assert by_losses in failed(check_foreign(theirs.losses, images(), P))


def test_a_step_without_a_prefix_fails_only_where_one_is_asked_for() -> None:
    theirs, causal = Small(), next_patch(images(), P, "causal")

    def step(images: Tensor, draws: Draws) -> Tensor:
        return theirs.step(images, with_prefix(torch.ones_like(draws[PREFIX_LEN])))

    assert failed(check_foreign(step, images(), P, theirs.head, causal, ONLY_ONE)) == ""
    assert "scored although given" in failed(check_foreign(step, images(), P, theirs.head, causal))


def test_what_cannot_be_examined_is_refused_in_words() -> None:
    theirs = Small()
    for head, words in ((nn.Linear(2, 2), "ran 0 times"), (theirs.drop, "ran 2 times")):
        with pytest.raises(UserError, match=words):
            check_foreign(theirs.step, images(), P, head=head)
    with pytest.raises(UserError, match="name the module that predicts"):
        check_foreign(theirs.step, images(), P)
    with pytest.raises(UserError, match="losses at 5 places, not at 8"):
        check_foreign(lambda x, draws: theirs.losses(x, draws)[:, :5], images(), P)
    with pytest.raises(UserError, match="at least two"):
        check_foreign(theirs.step, images()[:1], P, head=theirs.head)


class LightlysAIM(nn.Module):
    """`examples/pytorch/aim.py` of lightly at e8d317f, smaller, with the prefix given instead of drawn."""

    def __init__(self, side: int) -> None:
        from lightly.models import utils
        from lightly.models.modules import AIMPredictionHead, MaskedCausalVisionTransformer

        super().__init__()
        vit = MaskedCausalVisionTransformer(
            img_size=side * P, patch_size=P, embed_dim=32, depth=2, num_heads=2, qk_norm=False, class_token=False,
            no_embed_class=True, global_pool="avg",
        )  # fmt: skip
        utils.initialize_2d_sine_cosine_positional_embedding(
            pos_embedding=vit.pos_embed, has_class_token=vit.has_class_token
        )
        self.patch_size = vit.patch_embed.patch_size[0]
        self.num_patches = vit.patch_embed.num_patches
        self.backbone = vit
        self.projection_head = AIMPredictionHead(
            input_dim=vit.embed_dim, output_dim=3 * self.patch_size**2, num_blocks=1
        )

    def forward(self, images: Tensor, prefix_len: Tensor) -> tuple[Tensor, Tensor]:
        from lightly.models import utils

        mask = torch.arange(self.num_patches) >= prefix_len[:, None]  # as utils.random_prefix_mask: False in the prefix
        features = self.backbone.forward_features(images, mask=mask)
        features = self.backbone._pos_embed(features)
        predictions = self.projection_head(features)
        patches = utils.patchify(images, self.patch_size)
        patches = utils.normalize_mean_var(patches, dim=-1)
        return predictions, patches


def told(capsys: pytest.CaptureFixture[str], package: str, verdicts: list[Verdict]) -> str:
    """What fails, which is printed too."""
    text = failed(verdicts)
    with capsys.disabled():
        print(f"\n{package} {version(package)}, timm {version('timm')}, torch {torch.__version__}:")
        print("\n".join(f"  {'holds' if verdict.holds else 'FAILS'}  {verdict.claim}" + (
            f"\n         {verdict.reason}" if verdict.reason else "") for verdict in verdicts))  # fmt: skip
    return text


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_lightlys_aim_learns_to_copy(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightly", reason="lightly is not installed (see the top of this file)")
    side = 4
    theirs, criterion = LightlysAIM(side).double(), nn.MSELoss()

    def step(images: Tensor, draws: Draws) -> Tensor:
        predictions, targets = theirs(images, draws[PREFIX_LEN])
        return criterion(predictions, targets)

    text = told(capsys, "lightly", check_foreign(step, images(side), P, head=theirs.projection_head))
    assert "output 0 is compared with patch 0, which it sees: the one-patch shift is missing" in text
    assert "the model learns to copy" in text
    assert "scored although given" in text
    assert "mask is inverted" not in text


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_stable_pretrainings_igpt_inverts_its_mask(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("stable_pretraining", reason="stable-pretraining is not installed (see the top of this file)")
    from stable_pretraining.methods.igpt import iGPT
    from timm.models.vision_transformer import VisionTransformer

    side = 4
    vit = VisionTransformer(img_size=side * P, patch_size=P, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    theirs = iGPT(vit, patch_size=P, image_size=side * P).double().train()

    def step(images: Tensor, draws: Draws) -> Tensor:
        return theirs(images).loss

    causal = next_patch(images(side), P, "causal")
    text = told(capsys, "stable-pretraining", check_foreign(step, images(side), P, theirs.head, causal, draws=ONLY_ONE))
    assert "output 0 must predict patch 1 but sees patches 1, 2, 3, 4 ...: the attention mask is inverted" in text
    assert "learns to copy" not in text
