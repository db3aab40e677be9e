"""The network of the standard FID: torch-fidelity's, from a file of tensors, resized as its figures need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nextpatch
from nextpatch.core.errors import UserError
from nextpatch.tasks.evaluate.extractor import extractor_of
from nextpatch.weights.inception import Inception, like_tensorflow, load_inception


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights by chance, under the published names."""
    generator, model = torch.Generator().manual_seed(0), Inception()
    for module in model.net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save(model.net.state_dict(), path)
    return path


def images(height: int, width: int, count: int = 2, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (320, 310)])
def test_features_are_those_of_torch_fidelity(file: Path, height: int, width: int) -> None:
    theirs = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    reference = theirs.FeatureExtractorInceptionV3("test", ["2048"], str(file))
    given = images(height, width, 1)
    assert torch.allclose(load_inception(f"inception:{file}")[0](given), reference(given)[0], rtol=1e-4, atol=1e-5)


def test_images_are_resized_from_the_corner_without_antialiasing() -> None:
    """TensorFlow 1: pixel i of the result is at i * length / side of the image, and beyond the last it repeats."""
    row = torch.tensor([[[[0.0, 8.0]]]])
    assert like_tensorflow(row, 4)[0, 0, 0].tolist() == [0, 4, 8, 8]
    assert like_tensorflow(torch.arange(8.0).view(1, 1, 1, 8), 4)[0, 0, 0].tolist() == [0, 2, 4, 6]


def test_gray_images_are_taken_and_weights_that_are_not_the_published_ones_are_told(file: Path) -> None:
    extractor = extractor_of(f"inception:{file}", "cpu", "fp32")
    assert extractor.compute(images(12, 12, channels=1)).features.shape == (2, 2048)
    assert "not the published" in extractor.note
    assert len(extractor.sha256) == 64


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save({"fc.weight": object}, tmp_path / "code.pth")
    for name, reason in {
        "other.pth": "holds no weights of FID",
        "code.pth": "tensors alone",
        "no.pth": "not exist",
    }.items():
        with pytest.raises(UserError, match=reason):
            nextpatch.evaluate_samples(
                images(8, 8, 8), images(9, 9, 8), features=f"inception:{tmp_path / name}", quiet=True
            )
