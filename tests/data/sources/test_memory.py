"""Images in memory are a source like any other: the same bytes each time, bad ones skipped, changed ones noticed."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nextpatch.data.collection import absolute, open_collection
from nextpatch.data.decode import decode
from nextpatch.data.encoding import encoded
from nextpatch.data.error import DataError
from nextpatch.data.loader import eval_batches
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.data.sources.held import hold
from nextpatch.data.sources.memory import MemorySource, digest_of_all, digest_of_some
from nextpatch.data.sources.open import open_source

PIXELS = np.random.default_rng(7).integers(0, 255, (6, 9, 8, 3), np.uint8)
FORMS = {
    "arrays": list(PIXELS),
    "one array": PIXELS,
    "pillow": [Image.fromarray(one) for one in PIXELS],
    "tensors": torch.from_numpy(PIXELS).permute(0, 3, 1, 2),
    "floats": [torch.from_numpy(one).permute(2, 0, 1) / 255 for one in PIXELS],
}


def source_of(items: Any, **more: Any) -> MemorySource:
    return MemorySource(items, digest_of_all(items), **more)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_pixels(form: str) -> None:
    source = source_of(FORMS[form])
    for number, wanted in enumerate(PIXELS):
        assert np.array_equal(decode(source.read(number), 3).permute(1, 2, 0).numpy(), wanted)
        assert source.read(number) == source.read(number)


def test_it_is_found_by_its_name_as_long_as_somebody_holds_it() -> None:
    source = hold(source_of(PIXELS))
    assert open_source(source.name) is source
    other = hold(source_of(PIXELS.copy()))
    assert id(open_source(source.name)) == id(other)  # the newest
    del other
    gc.collect()
    assert id(open_source(source.name)) == id(source)
    assert open_collection([f"{source.name}=0.5", "demo:test=0.5"]).weights == (0.5, 0.5)
    name = source.name
    assert absolute(name) == name
    del source
    gc.collect()
    with pytest.raises(DataError, match="give them again"):
        open_source(name)


@pytest.mark.parametrize("form", FORMS)
def test_a_changed_pixel_an_order_and_a_number_change_the_digest(form: str) -> None:
    items = list(FORMS[form])
    changed = torch.as_tensor(np.asarray(items[3]).copy()) if form != "pillow" else items[3].rotate(180)
    if form != "pillow":
        changed[0, 0, 0] = 1 - changed[0, 0, 0] if form == "floats" else 255 - changed[0, 0, 0]
    others = [[*items[:3], changed, *items[4:]], items[::-1], items[:-1]]
    for digest in (digest_of_all, lambda items: digest_of_some(items, "mine")):
        assert digest(items) == digest(list(FORMS[form]))
        assert len({digest(items), *map(digest, others)}) == 4


class Broken:
    """Somebody's data set, of which two images fail, each in its own way."""

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, number: int) -> Any:
        if number == 2:
            raise KeyError("no such row")
        return None if number == 4 else PIXELS[number]


def test_bad_images_are_left_out_and_named() -> None:
    source = MemorySource(Broken(), digest_of_some(Broken(), "broken"), "mine")
    [batch] = eval_batches(source, range(6), (9, 8), 3, 8)
    assert batch.positions.tolist() == [0, 1, 3, 5]
    assert {key: entry.reason for key, entry in batch.bad.items()}.keys() == {"python:mine#2", "python:mine#4"}
    assert "no such row" in batch.bad["python:mine#2"].reason
    assert "is not an image" in batch.bad["python:mine#4"].reason


@pytest.mark.parametrize("layout", ["auto", "channels_last", "channels_first"])
@pytest.mark.parametrize("channels", [1, 3, 5, 24])
def test_axes_of_images_in_memory_are_known_whatever_layout_files_have(layout, channels):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, channels), np.uint8)
    seen = Preprocessing(layout=layout)
    for given in (pixels, torch.from_numpy(pixels).permute(2, 0, 1)):
        found = decode(encoded(given), channels, seen)
        assert torch.equal(found.permute(1, 2, 0), torch.from_numpy(pixels))
