"""Features of a trunk on one CPU thread: ours against a plain float32 forward pass as the released package runs it.

    python benchmarks/features.py [--rounds 7] [--batch 8] [--threads 1]

The plain pass is written here after the released package's description: eager float32, a convolution for the patches,
every block to the end, all outputs kept, attention by PyTorch's fused kernel. Width 384, depth 12, 224 px, the mean of
the last six blocks. Reported: the median over rounds of the ratio of their times within a round, the relative error
(norm of the difference over the norm) and the smallest cosine of a pooled vector. Figures: docs/log.md.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.weights import to_released
from nextpatch.patches import sincos_positions
from nextpatch.weights.assemble import LoadOptions, of_model
from nextpatch.weights.inference import InferenceModel


class PlainBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim, bias=False), "proj": nn.Linear(dim, dim, bias=False)})
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(dim, 4 * dim, bias=False), "fc2": nn.Linear(4 * dim, dim, bias=False)}
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.attn["qkv"](self.norm_1(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*qkv.unbind(0))
        x = x + self.attn["proj"](seen.transpose(1, 2).reshape(batch, length, dim))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm_2(x))))


class Plain(nn.Module):
    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        s = cfg.shape
        self.proj = nn.Conv2d(cfg.in_chans, s.embed_dim, cfg.patch_size, cfg.patch_size)
        self.norm = nn.LayerNorm(s.embed_dim, eps=1e-6)
        self.blocks = nn.ModuleList(PlainBlock(s.embed_dim, s.num_heads) for _ in range(s.depth))
        self.post_trunk_norm = nn.LayerNorm(s.embed_dim, eps=1e-6)
        self.register_buffer("positions", sincos_positions(cfg.grid, s.embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.proj(images).flatten(2).transpose(1, 2)) + self.positions
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        self.post_trunk_norm(x)
        return torch.stack(outputs[-6:]).mean(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cfg = ModelConfig("small")
    model = AIM(cfg)
    init_weights(model, 0)
    plain = Plain(cfg).eval()
    state = {
        name.replace("preprocessor.patchifier.", "").removeprefix("trunk."): tensor
        for name, tensor in to_released(model.state_dict(), cfg).items()
        if not name.startswith("pixel_head.")
    }
    plain.load_state_dict(state, strict=False)
    inference = InferenceModel.of(of_model(model, "small", LoadOptions(), None, ((), ())), "cpu")
    images = torch.randint(0, 255, (given.batch, 3, 224, 224), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (inference.backbone.about.mean, inference.backbone.about.std))

    @torch.no_grad()
    def theirs() -> Tensor:
        return plain((images.float() / 255 - mean) / std)

    exact, ours = theirs(), inference.read(images)
    error = float((ours - exact).norm() / exact.norm())
    cosine = float(F.cosine_similarity(ours.mean(dim=1), exact.mean(dim=1)).min())
    ratios = []
    for _ in range(given.rounds):
        times = []
        for work in (theirs, lambda: inference.read(images)):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    print(
        f"{inference.precision}, {given.threads} thread(s), batch {given.batch}: {median(ratios):.2f} times the plain "
        f"pass ({min(ratios):.2f} to {max(ratios):.2f} in {given.rounds} rounds; {given.batch / times[1]:.1f}/s), "
        f"relative error {error:.1e}, smallest cosine {cosine:.6f}"
    )


if __name__ == "__main__":
    main()
