"""The nearest images of an index of features, as a picture."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nextpatch.config import ConfigError, from_dict, to_dict
from nextpatch.core.errors import FileError
from nextpatch.core.output import check_file, picture_kind, save_picture
from nextpatch.core.reading import read_json
from nextpatch.core.text import shown, storable
from nextpatch.data.decode import BadImage, decode
from nextpatch.data.error import DataError
from nextpatch.data.loader import eval_batches
from nextpatch.data.preprocessing import Preprocessing
from nextpatch.data.sources import shipped
from nextpatch.data.sources.listed import ListedSource
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.sources.sparse import sparse
from nextpatch.data.storage.near import read_near
from nextpatch.tasks.embed.columns import facts_of, feature_columns, rows_in, tables_of
from nextpatch.tasks.embed.output import arrays
from nextpatch.tasks.embed.shard import Columns
from nextpatch.weights.inference import InferenceModel
from nextpatch.weights.load import load
from nextpatch.weights.names import from_file

log = logging.getLogger(__name__)
_CELL, _GAP, _MARGIN, _CAPTION, _ACROSS = 224, 16, 32, 46, 4
_GROUND, _INK, _MUTE, _QUERY = (251, 251, 249), (27, 29, 33), (98, 103, 111), (20, 102, 176)
_TEXT, _SMALL = (ImageFont.load_default(size) for size in (17, 14))


class Near(NamedTuple):
    """An image of the index and the cosine between its features and the query's."""

    path: str
    similarity: float


def similar(
    query: Path, index: Path, out: Path, top: int, weights: str = "", device: str = "auto", data: str = ""
) -> list[Near]:
    """The `top` images of the index nearest to the query, nearest first; `out` becomes their picture.

    Features are standardized by the index, as for nearest-neighbor probes, and compared by their cosine. ConfigError
    when `index` holds no vectors, or when the weights are not those that it was made with. What `weights` and `data` do
    not say is taken from the index, as far as it runs no code and follows no URL.
    """
    picture_kind(out)
    check_file(out)
    files = sorted(index.glob("part-*.parquet")) if index.is_dir() else [index]
    if not files or not files[0].exists():
        raise ConfigError(
            f"{index} does not exist or holds no features; write them: "
            f"nextpatch embed DATA --weights WEIGHTS --out {index}"
        )
    if files == [index] and index.suffix != ".parquet":
        raise ConfigError(f"{shown(index)} is no index; embed into a .parquet file or a folder: --out photos.parquet")
    if index.is_dir():
        _tell_missing(index, files)
    filled = [file for file in files if rows_in(file)]
    facts = facts_of(filled[0]) if filled else {}
    columns = feature_columns(filled[0]) if facts else []
    if len(columns) != 1 or facts["kind"] != "vector":
        raise ConfigError(
            f"{index} does not hold one vector for each image; embed without --pool patches, --each-layer"
        )
    features = torch.from_numpy(np.concatenate(list(arrays(filled, columns[0])))).float()
    if not bool(torch.isfinite(features).all()):
        raise ConfigError(f"{shown(index)} holds features that are not finite; embed again with weights that are whole")
    paths = [path for file in filled for table in tables_of(file, ["path"]) for path in table.column(0).to_pylist()]
    near = nearest(_query(query, index, facts, weights, device), features, top)
    found = [Near(paths[i], value) for i, value in near]
    picture = draw(query, found, Originals(data or _data_of(facts, index)))
    save_picture(picture, out)
    return found


def _tell_missing(index: Path, files: Sequence[Path]) -> None:
    """Say how many parts of a folder of features are not there: none of their images can be found."""
    plan = index / "plan.json"
    if not plan.is_file():
        return
    facts = read_json(plan, "a plan of features", "embed again into another folder")
    images, at_a_time = facts.get("images"), facts.get("shard_images")
    if type(images) is int and type(at_a_time) is int and at_a_time > 0:
        wanted = {f"part-{number:06d}.parquet" for number in range(min(-(-images // at_a_time), len(files) + 10**6))}
        if missing := sorted(wanted - {file.name for file in files}):
            log.warning(
                "%s lacks %d of %d parts (the first: %s), whose images cannot be found; the same nextpatch embed makes "
                "them",
                shown(index), len(missing), len(wanted), missing[0],
            )  # fmt: skip


def place_of_images(index: Path, data: str) -> str:
    """The collection that was embedded, as `similar` takes it; empty where the index does not say."""
    files = sorted(index.glob("part-*.parquet")) if index.is_dir() else [index]
    try:
        return data or str(facts_of(files[0]).get("data", ""))
    except (FileError, OSError, IndexError):
        return ""  # similar says what is wrong


def _data_of(facts: dict[str, object], index: Path) -> str:
    """The collection that the index names where it lies on this machine: a file must not choose what is fetched."""
    data = str(facts.get("data", ""))
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:|//", data) and not data.startswith(shipped.PREFIX):
        log.warning("%s is of %s, which is not fetched unless it is typed: --data", shown(index), shown(data))
        return ""
    return data


class Originals:
    """Images of an index by name: files where they lie, others out of the collection that was embedded."""

    def __init__(self, data: str) -> None:
        self._data = data

    def __getitem__(self, name: str) -> bytes:
        """The encoded image; OSError when it is not to be had any more."""
        path = Path(name)
        if path.is_file():
            return read_near(path)
        number = self._number(name)
        if number < 0:
            raise KeyError(name)
        return self._source.read(number)

    def _number(self, name: str) -> int:
        """Of an image by its name, which was written in another folder perhaps: then by its end."""
        if name in self._places:
            return self._places[name]
        end = "/" + re.sub(r"^(\.{0,2}/)*", "", name)
        return next((number for key, number in self._places.items() if key.endswith(end)), -1)

    @cached_property
    def _source(self) -> Source:
        try:
            return sparse(open_source(self._data))
        except DataError as error:
            raise OSError(str(error)) from None

    @cached_property
    def _places(self) -> dict[str, int]:
        return {storable(self._source.key(i)): i for i in range(len(self._source))}


def nearest(query: Float[Tensor, " dim"], features: Float[Tensor, "images dim"], top: int) -> list[tuple[int, float]]:
    """(row, cosine) of the nearest rows, after both are standardized by the rows."""
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    bank = torch.nn.functional.normalize((features - mean) / scale, dim=1)
    wanted = torch.nn.functional.normalize((query - mean) / scale, dim=0)
    values, rows = (bank @ wanted).topk(min(top, len(bank)))
    return list(zip(rows.tolist(), values.tolist(), strict=True))


def _query(query: Path, index: Path, facts: dict[str, object], weights: str, device: str) -> Float[Tensor, " dim"]:
    layers = ",".join(str(layer).removeprefix("block_") for layer in facts["layers"])  # type: ignore[attr-defined]
    name = weights or from_file(facts.get("weights"), index)
    backbone = load(name)
    size = _size_of(facts, index)
    if list(backbone.about.layers) != facts["layers"] or size not in (None, backbone.about.img_size):
        backbone = load(name, layers=layers, img_size=size)
    if backbone.digest() != facts["weights_sha256"]:
        raise ConfigError(
            f"{backbone.about.name} are not the weights of the index any more (SHA-256 differs); give those as "
            "--weights, or embed again"
        )
    columns = Columns(str(facts["pool"]), backbone.about.layers, False)
    about = backbone.about
    said: Any = facts.get("preprocessing", to_dict(about.preprocessing))
    reading = from_dict(Preprocessing, said, shown(index))
    [batch] = eval_batches(
        ListedSource([str(query)]), np.arange(1), about.img_size, about.in_chans, 1, preprocessing=reading
    )
    found = columns(InferenceModel.of(backbone, device), batch.images, batch.keys)
    return torch.from_numpy(next(iter(found.values()))[0]).float()


def _size_of(facts: dict[str, object], index: Path) -> tuple[int, int] | None:
    """The size that the images of an index were seen at; None where it does not say."""
    said = facts.get("img_size")
    if said is None:
        return None
    if not isinstance(said, list) or [type(side) for side in said] != [int, int]:
        raise ConfigError(f"{shown(index)}: img_size is no height and width; embed again")
    return said[0], said[1]


def draw(query: Path, found: Sequence[Near], originals: Originals) -> Image.Image:
    """The query and what is nearest, in rows, each with its similarity and name."""
    cells = [("query", str(query), _QUERY), *((f"{near.similarity:.3f}", near.path, _INK) for near in found)]
    rows = -(-len(cells) // _ACROSS)
    width = 2 * _MARGIN + _ACROSS * (_CELL + _GAP) - _GAP
    sheet = Image.new("RGB", (width, 2 * _MARGIN + rows * (_CELL + _CAPTION + _GAP) - _GAP), _GROUND)
    pen = ImageDraw.Draw(sheet)
    for number, (text, path, ink) in enumerate(cells):
        left = _MARGIN + number % _ACROSS * (_CELL + _GAP)
        top = _MARGIN + number // _ACROSS * (_CELL + _CAPTION + _GAP)
        picture = _opened(path, originals)
        if picture is None:
            pen.rectangle((left, top, left + _CELL, top + _CELL), outline=_MUTE)
            pen.text((left + 10, top + 10), "not here any more", _MUTE, _SMALL)
        else:
            sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        if number == 0:
            pen.rectangle((left - 5, top - 5, left + _CELL + 4, top + _CELL + 4), outline=_QUERY, width=3)
        pen.text((left, top + _CELL + 4), text, ink, _TEXT)
        pen.text((left, top + _CELL + 25), _cut(pen, shown(path)), _MUTE, _SMALL)
    return sheet


def _opened(path: str, originals: Originals) -> Image.Image | None:
    try:
        pixels = decode(originals[path], 3)
    except (OSError, KeyError, BadImage):
        return None
    shown = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    scale = _CELL / max(shown.size)
    return shown.resize(
        (max(1, round(shown.width * scale)), max(1, round(shown.height * scale))), Image.Resampling.BICUBIC
    )


def _cut(pen: ImageDraw.ImageDraw, text: str) -> str:
    """The end of a path says more than its beginning."""
    while len(text) > 4 and pen.textlength(text, _SMALL) > _CELL:
        text = "..." + text[4:]
    return text
