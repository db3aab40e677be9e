"""The Inception network of the standard FID, from a file of its published weights, which are tensors and nothing else.

It is torchvision's, with the differences that the network of 2015 had: means at borders leave the padding out, and the
last block pools by the maximum. Source: Heusel et al., arXiv 1706.08500; pytorch-fid and torch-fidelity, whose file
holds these names. A test compares it with torch-fidelity's.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchvision.models.inception import Inception3, InceptionA, InceptionC, InceptionE

from nextpatch.core.text import shown
from nextpatch.weights.download import fetched
from nextpatch.weights.error import WeightsError
from nextpatch.weights.tensors import read_tensors

PREFIX = "inception:"
PUBLISHED = "6726825d"  # how the SHA-256 of the published file begins, and how its name ends
SIDE, CLASSES = 299, 1008
_ON_THE_HUB = re.compile(r"([\w.-]+/[\w.-]+)/([\w./-]+)")


class _BlockA(InceptionA):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        small, large = self.branch5x5_1(x), self.branch3x3dbl_1(x)
        large = self.branch3x3dbl_3(self.branch3x3dbl_2(large))
        return [self.branch1x1(x), self.branch5x5_2(small), large, self.branch_pool(_means(x))]


class _BlockC(InceptionC):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return [self.branch1x1(x), once, twice, self.branch_pool(_means(x))]


class _BlockE(InceptionE):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        once, twice = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        once = torch.cat([self.branch3x3_2a(once), self.branch3x3_2b(once)], dim=1)
        twice = torch.cat([self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)], dim=1)
        return [self.branch1x1(x), once, twice, self.branch_pool(self._pooled(x))]

    def _pooled(self, x: Tensor) -> Tensor:
        return _means(x)


class _LastBlock(_BlockE):
    def _pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, kernel_size=3, stride=1, padding=1)


def _means(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class Inception(nn.Module):
    """uint8 RGB images of any size -> 2,048 features; the last layer, of 1,008 classes, is not computed."""

    def __init__(self) -> None:
        super().__init__()
        net = Inception3(num_classes=CLASSES, aux_logits=False, transform_input=False, init_weights=False)
        net.Mixed_5b, net.Mixed_5c, net.Mixed_5d = _BlockA(192, 32), _BlockA(256, 64), _BlockA(288, 64)
        for name, channels in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            setattr(net, f"Mixed_{name}", _BlockC(768, channels))
        net.Mixed_7b, net.Mixed_7c = _BlockE(1280), _LastBlock(2048)
        net.avgpool, net.dropout = nn.AdaptiveAvgPool2d(1), nn.Identity()
        self.net = net.eval()

    def forward(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 2048"]:
        """Resized as TensorFlow 1 did, to values in [-1, 1)."""
        x = like_tensorflow(images.float(), SIDE)
        x = (x - 128) / 128
        for name, module in self.net.named_children():
            if name != "fc":
                x = module(x)
        return x.flatten(1)


def like_tensorflow(images: Float[Tensor, "batch channels height width"], side: int) -> Tensor:
    """Bilinear, without antialiasing, corners at corners of pixels: the published figures depend on it."""
    for axis in (2, 3):
        length = images.shape[axis]
        places = torch.arange(side, device=images.device) * (length / side)
        low = places.floor().long()
        share = (places - low).view(-1, 1) if axis == 2 else places - low
        near, far = (images.index_select(axis, index) for index in (low, (low + 1).clamp_max(length - 1)))
        images = near + (far - near) * share
    return images


def load_inception(spec: str) -> tuple[Inception, str]:
    """(the network, the file's SHA-256) of "inception:FILE", or of "inception:OWNER/NAME/FILE" of the Hub.

    WeightsError where the file is absent, holds anything but tensors, or those of another network.
    """
    path = Path(spec.removeprefix(PREFIX))
    if not path.exists() and (found := _ON_THE_HUB.fullmatch(str(path))) and not path.is_absolute():
        path = fetched(found[1], found[2])
    state, _ = read_tensors(path)
    model = Inception()
    try:
        missing, unknown = model.net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise _other(path, " ".join(str(error).split())[:200]) from None
    if lacking := [name for name in (*missing, *unknown) if not name.endswith("num_batches_tracked")]:
        raise _other(path, f"{lacking[0]} is missing or too much")
    with path.open("rb") as file:
        return model.requires_grad_(False), hashlib.file_digest(file, "sha256").hexdigest()


def _other(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{shown(path)} holds no weights of FID's Inception network ({shown(reason)}); give the file "
        "pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or torch-fidelity's of the same digits"
    )
