"""`nextpatch inpaint`: known pixels stay in every kind of picture, and what cannot be filled is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nextpatch
from nextpatch.cli import main
from nextpatch.core.errors import UserError
from sampled import SIZE, generator_of, saved

WORDS = ["--steps", "1", "--device", "cpu", "-n", "2"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(generator_of(order="any", classes=0), tmp_path_factory.mktemp("runs") / "any")


def picture(mode: str, height: int = 9, width: int = 11) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(RNG.integers(0, 65536, (height, width), np.uint16))
    grey = mode in ("1", "L", "LA")
    values = RNG.integers(0, 256, (height, width, 4), np.uint8)
    values[..., 1:3] = values[..., :1] if grey else values[..., 1:3]
    return Image.fromarray(values).convert("RGB" if mode in ("P", "CMYK", "1") else "RGBA").convert(mode)


def hole_of(height: int = 9, width: int = 11) -> np.ndarray:
    hole = np.zeros((height, width), bool)
    hole[3:8, 2:10] = True
    return hole


def files(folder: Path, mode: str = "RGB", name: str = "photo.png") -> tuple[str, str, str]:
    """A photo, its mask and a folder for the results."""
    picture(mode).save(folder / name)
    Image.fromarray(hole_of()).save(folder / "mask.png")
    return str(folder / name), str(folder / "mask.png"), str(folder / "out")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "P", "1", "CMYK"])
def test_known_pixels_are_those_of_the_photo_in_its_own_mode(run: Path, tmp_path: Path, mode: str) -> None:
    photo, mask, out = files(tmp_path, mode, "photo.tiff" if mode == "CMYK" else "photo.png")
    assert main(["inpaint", str(run), photo, "--mask", mask, "--out", out, *WORDS]) == 0
    before = Image.open(photo)
    before = before.convert({"P": "RGB", "1": "L", "CMYK": "RGB"}.get(mode, before.mode))
    for number in range(2):
        found = Image.open(Path(out) / f"00000{number}.png")
        assert found.mode == before.mode
        values, wanted = np.asarray(found), np.asarray(before)
        assert values.dtype == wanted.dtype
        assert (values[~hole_of()] == wanted[~hole_of()]).all()
        assert (values[hole_of()] != wanted[hole_of()]).any()
        if mode in ("LA", "RGBA"):
            assert (values[hole_of()][:, -1] == 255).all(), "what was made can be seen"
        if mode == "I;16":
            assert values[hole_of()].max() > 255, "of 16 bits, too"


def test_pictures_differ_are_repeated_and_are_those_of_the_function(run: Path, tmp_path: Path) -> None:
    photo, mask, out = files(tmp_path)
    assert main(["inpaint", str(run), photo, "--mask", mask, "--out", out, "--seed", "3", *WORDS]) == 0
    names = {path.name for path in Path(out).iterdir()}
    assert names == {"000000.png", "000001.png", "sheet.png", "settings.json"}
    found = [np.asarray(Image.open(Path(out) / f"00000{i}.png")) for i in (0, 1)]
    assert (found[0] != found[1]).any()
    assert main(["inpaint", "--from", out, "--out", str(tmp_path / "again"), "--device", "cpu"]) == 0
    for name in names - {"settings.json"}:
        assert (Path(out) / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    made = nextpatch.inpaint(
        run, np.asarray(Image.open(photo)), hole_of(), 1, first=1, seed=3, steps=1, device="cpu", quiet=True
    )
    assert (np.asarray(made[0]) == found[1]).all()
    boxed = nextpatch.inpaint(run, photo, n=1, box=(2, 3, 8, 5), seed=3, steps=1, device="cpu", quiet=True)
    assert (np.asarray(boxed[0]) == found[0]).all()
    Image.fromarray(~hole_of()).save(mask)
    assert main(["inpaint", "--from", out, "--out", str(tmp_path / "other"), "--device", "cpu"]) == 2


def test_the_sheet_shows_the_hole_first(run: Path, tmp_path: Path) -> None:
    photo, mask, out = files(tmp_path)
    assert main(["inpaint", str(run), photo, "--mask", mask, "--out", out, *WORDS]) == 0
    sheet = np.asarray(Image.open(Path(out) / "sheet.png"))
    marked = (sheet == [255, 92, 57]).all(axis=2)
    scale = 64 // 11
    assert marked.sum() == hole_of().sum() * scale**2
    assert not marked[:, 4 + 11 * scale :].any()


def test_an_image_that_is_all_hole_is_a_sample(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo = picture("RGB", *SIZE)
    made = nextpatch.inpaint(run, photo, np.ones(SIZE, bool), 2, steps=2, device="cpu", quiet=True)
    assert "the whole image is a hole" in caplog.text
    sampled = nextpatch.sample(run, 2, steps=2, device="cpu", quiet=True)
    assert all((np.asarray(one) == np.asarray(other)).all() for one, other in zip(made, sampled, strict=True))


def test_a_photo_that_lies_on_its_side_is_upright(run: Path, tmp_path: Path) -> None:
    photo, exif = picture("RGB", 8, 14), Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.png", exif=exif)
    upright = np.rot90(np.asarray(photo), -1)
    (made,) = nextpatch.inpaint(run, tmp_path / "turned.png", n=1, box=(0, 5, 8, 3), steps=1, device="cpu", quiet=True)
    assert made.size == (8, 14)
    hole = np.zeros((14, 8), bool)
    hole[5:8] = True
    assert (np.asarray(made)[~hole] == upright[~hole]).all()


BAD = {
    "11 x 8 pixels and the image 11 x 9": {"mask": np.ones((8, 11), bool)},
    "it lies on its side": {"mask": np.ones((11, 9), bool)},
    "has no hole: its brightest pixel is 1 of 255": {"mask": np.ones((9, 11), np.uint8)},
    "no hole given; give --mask": {},
    "does not lie in the image, which is 11 pixels wide and 9 high": {"box": (4, 4, 8, 5)},
}


@pytest.mark.parametrize("said", BAD)
def test_what_is_no_hole_is_told(run: Path, said: str) -> None:
    with pytest.raises(UserError, match=said):
        nextpatch.inpaint(run, picture("RGB"), n=1, steps=1, device="cpu", quiet=True, **BAD[said])


def test_a_mask_that_cannot_be_read_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, mask, out = files(tmp_path)
    for given, said in ((mask + "x", "cannot be read: No such file"), (str(tmp_path), "is a folder; give")):
        assert main(["inpaint", str(run), photo, "--mask", given, "--out", out, *WORDS]) == 2
        assert f"{given} {said}" in capsys.readouterr().err


def test_a_box_is_four_whole_numbers(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, _, out = files(tmp_path)
    for box in ("1,2,3", "1,2,3,x", "10x10"):
        assert main(["inpaint", str(run), photo, "--box", box, "--out", out, *WORDS]) == 2
        assert "is not four whole numbers; give X,Y,W,H" in capsys.readouterr().err


def test_grey_in_a_mask_is_told_and_transparent_is_no_hole(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo, mask = picture("RGB"), np.zeros((9, 11, 4), np.uint8)
    mask[3:8, 2:10] = 255
    mask[0, 0] = (100, 100, 100, 255)
    mask[0, 1] = (200, 200, 200, 255)
    (made,) = nextpatch.inpaint(run, photo, Image.fromarray(mask), 1, steps=1, device="cpu", quiet=True)
    assert "has 2 grey pixels; from 128 of 255 on a pixel is a hole" in caplog.text
    hole = hole_of()
    hole[0, 1] = True
    assert (np.asarray(made)[~hole] == np.asarray(photo)[~hole]).all()


def test_colors_are_not_filled_with_grey(tmp_path: Path) -> None:
    run = saved(generator_of(order="any", classes=0, in_chans=1), tmp_path / "grey")
    with pytest.raises(UserError, match="has colors and these weights make grey images"):
        nextpatch.inpaint(run, picture("RGB"), hole_of(), 1, steps=1, device="cpu", quiet=True)
    shades = picture("L").convert("RGB")
    (made,) = nextpatch.inpaint(run, shades, hole_of(), 1, steps=1, device="cpu", quiet=True)
    assert made.mode == "RGB"
    assert (np.asarray(made)[~hole_of()] == np.asarray(shades)[~hole_of()]).all()


def test_an_order_that_sees_too_late_is_refused_unless_it_is_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, photo = saved(generator_of(classes=0), tmp_path / "raster"), picture("RGB", *SIZE)
    with pytest.raises(
        UserError, match=r"before they have seen 8 of .* --model.order any, or accept it: --allow-unseen"
    ):
        nextpatch.inpaint(run, photo, n=1, box=(0, 0, 8, 2), steps=1, device="cpu", quiet=True)
    nextpatch.inpaint(run, photo, n=1, box=(0, 0, 8, 2), allow_unseen=True, steps=1, device="cpu", quiet=True)
    assert "before they have seen 8 of" in caplog.text
    nextpatch.inpaint(run, photo, n=1, box=(0, 4, 8, 2), steps=1, device="cpu", quiet=True)
