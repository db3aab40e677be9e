"""`nextpatch upscale` and `nextpatch.upscale`: files, what repeats them, tiles, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nextpatch
from nextpatch.cli import main
from nextpatch.data.downsampling import downsampled
from nextpatch.sampling.error import SamplingError
from nextpatch.tasks.generate.pictures import sheet_of
from sampled import MEAN, STD, generator_of, saved

QUICK = ["--steps", "1", "--device", "cpu", "--batch-size", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = generator_of(upscale=2)
    model.start.low_res.measure(MEAN, STD)
    return saved(model, tmp_path_factory.mktemp("runs") / "enlarging")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "small.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)).save(path)
    return path


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("0*.png"))]


def smaller(picture: np.ndarray, factor: int) -> np.ndarray:
    found: np.ndarray = downsampled(torch.from_numpy(picture.copy()).permute(2, 0, 1), factor).permute(1, 2, 0).numpy()
    return found


def test_pictures_agree_with_the_small_one_and_are_repeated(run: Path, small: Path, tmp_path: Path) -> None:
    out, again, given = tmp_path / "out", tmp_path / "again", np.asarray(Image.open(small))
    words = ["upscale", str(run), str(small), "--factor", "2", "-n", "5", "--label", "1", "--seed", "3"]
    assert main([*words, "--out", str(out), *QUICK]) == 0
    found = pictures(out)
    assert [one.shape for one in found] == [(8, 10, 3)] * 5
    assert all((smaller(one, 2) == given).all() for one in found)
    assert len({one.tobytes() for one in found}) == 5
    sheet = Image.open(out / "sheet.png").convert("RGB")
    beside = [Image.open(small).resize((10, 8), how) for how in (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)]
    assert (np.asarray(sheet) == np.asarray(sheet_of([*beside, *map(Image.fromarray, found)]))).all()
    assert main(["upscale", "--from", str(out), "--out", str(again), "--device", "cpu"]) == 0
    assert (np.stack(pictures(again)) == np.stack(found)).all()
    made = nextpatch.upscale(run, given, 2, first=3, label=1, seed=3, steps=1, batch_size=4, device="cpu", quiet=True)
    assert (np.stack([np.asarray(one) for one in made]) == np.stack(found[3:])).all()


def test_a_factor_that_is_a_power_is_reached_in_several_passes(run: Path, small: Path) -> None:
    [once] = nextpatch.upscale(run, small, 1, factor=4, steps=1, batch_size=1, device="cpu", quiet=True)
    assert once.size == (20, 16)
    assert (smaller(np.asarray(once), 4) == np.asarray(Image.open(small))).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--factor", "3"], "enlarge by 2, and the factor 3 is not 2, 4"),
        (["--guidance", "2"], "guidance leads towards a class, and none is asked for"),
        (["--label", "9"], "no class '9'"),
        (["--image", "tiny.png"], "the image is 2 x 2 px, and these weights enlarge images of 4 x 3 px and more"),
        (["--image", "text.png"], "cannot be used"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    words: list[str], said: str, run: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "tiny.png")
    (tmp_path / "text.png").write_text("no image")
    image = small
    if words[0] == "--image":
        image, words = tmp_path / words[1], []
    assert main(["upscale", str(run), str(image), *words, "--out", str(tmp_path / "out"), *QUICK]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_colors_are_refused_by_weights_of_grey_images(small: Path, tmp_path: Path) -> None:
    grey = saved(generator_of(upscale=2, in_chans=1), tmp_path / "grey")
    with pytest.raises(SamplingError, match="has colors and these weights make grey images"):
        nextpatch.upscale(grey, small, device="cpu", quiet=True)


def test_each_verb_names_the_weights_that_it_needs(run: Path, small: Path, tmp_path: Path) -> None:
    plain = saved(generator_of(), tmp_path / "plain")
    with pytest.raises(SamplingError, match=r"did not learn to enlarge images; train some .* --model.upscale 2"):
        nextpatch.upscale(plain, small, device="cpu", quiet=True)
    with pytest.raises(SamplingError, match="enlarge images by 2, and do nothing else: nextpatch upscale RUN IMAGE"):
        nextpatch.sample(run, 1, device="cpu", quiet=True)
    with pytest.raises(SamplingError, match="enlarge images by 2, and do nothing else"):
        nextpatch.complete(run, small, 1, device="cpu", quiet=True)
    hole = ["--box", "0,0,2,2", "--out", str(tmp_path / "filled")]
    assert main(["inpaint", str(run), str(small), *hole, *QUICK]) == 2
    assert not (tmp_path / "filled").exists()
