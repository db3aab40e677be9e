"""Study files: what they say is what is read, and whatever is wrong in one is named with its place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextpatch.core.errors import ConfigError
from nextpatch.study.reading import read_study, study_path

STUDY = """
title = "Order"
source = "Table 3b"
base = "demo"
seeds = [0, 1]
[recipe.model]
attention = "causal"
[probe]
data = "demo:test"
probes = ["linear"]
[variants.raster]
paper.linear = 69.5
[variants.spiral]
model.order = "spiral"
[variants.random]
model = { order = "random", order_seed = 3 }
[variants.reread]
probe.layers = ["each"]
[[claims]]
better = "raster"
than = "random"
by = "linear"
[[claims]]
trend = ["random", "spiral", "raster"]
by = ["linear", "val_loss"]
"""


def written(folder: Path, text: str, name: str = "study.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_study_is_what_its_file_says_over_its_base(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, STUDY))
    assert study.recipe["model"]["attention"] == "causal"
    assert study.recipe["model"]["size"] == "tiny"  # of the base
    assert [variant.name for variant in study.variants] == ["raster", "spiral", "random", "reread"]
    assert study.variant("random").values == {"model": {"order": "random", "order_seed": 3}}
    assert study.probe_of(study.variant("reread")) == {"data": "demo:test", "probes": ["linear"], "layers": ["each"]}
    assert study.metrics == ("val_loss", "linear")
    assert study.claims[0].by == ("linear",)
    assert study.claims[0].variants == ("random", "raster")  # the better one last


def test_a_study_extends_another_table_by_table(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    written(
        tmp_path / "base",
        'seeds = [5]\nnotes = ["small"]\n[probe]\ndata = "a"\ntest = "b"\n[recipe.optim]\nlr = 1e-2\n',
        "laptop.toml",
    )
    above = 'extends = "base/laptop.toml"\ntitle = "t"\nnotes = ["other heads"]\n[probe]\ndata = "c"\n[variants.one]\n'
    study = read_study(written(tmp_path, above))
    assert study.seeds == (5,)
    assert study.probe == {"data": "c", "test": "b"}
    assert study.recipe == {"optim": {"lr": 1e-2}}
    assert study.notes == ("small", "other heads")


def test_a_base_is_found_beside_the_study(tmp_path: Path) -> None:
    written(tmp_path, "[model]\nsize = 'nano'\n", "mine.toml")
    assert read_study(written(tmp_path, 'title = "t"\nbase = "mine.toml"\n[variants.one]\n')).recipe == {
        "model": {"size": "nano"}
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[variants.spiral]\n", "[varints.spiral]\n", "'varints' (did you mean 'variants'?)"),
        ("paper.linear", "papr.linear", "'variants.raster.papr' (did you mean 'paper'?)"),
        ("paper.linear", "paper.liner", "'liner' is not measured (did you mean 'linear'?)"),
        ('better = "raster"', 'better = "rastr"', "no variant 'rastr' (did you mean 'raster'?)"),
        ('better = "raster"', 'beter = "raster"', "'claims[1].beter' (did you mean 'better'?)"),
        ('than = "random"\n', "", "either both better and than, or trend"),
        ('than = "random"', 'than = "raster"', "cannot be better than itself"),
        ('by = "linear"', 'by = "attentive"', "'attentive', which is not measured of it"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "different whole numbers"),
        ("seeds = [0, 1]", 'seeds = ["1"]', "needs int"),
        ('base = "demo"', 'base = "dem"', "did you mean 'demo'?"),
        ('base = "demo"', 'drawings = ["chunk"]', "did you mean 'chunks'?"),
        ("[recipe.model]", "[recipe.modle]", "'recipe.modle' (did you mean 'model'?)"),
        ('model.order = "spiral"', 'model.target = "pixels"', "they differ in target"),
        ('model.order = "spiral"', 'model.attention = "prefix"', "they differ in attention"),
        ('model.order = "spiral"', 'data.train = "elsewhere"', "they differ in the held-out images"),
        ("[variants.spiral]\n", '[variants."../spiral"]\n', "cannot be called"),
        ('title = "Order"\n', "", "'title' is missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in STUDY
    with pytest.raises(ConfigError) as error:
        read_study(written(tmp_path, STUDY.replace(old, new)))
    assert said in str(error.value)


def test_a_study_is_found_by_its_file_or_its_folder(tmp_path: Path) -> None:
    path = written(tmp_path, STUDY)
    assert study_path(str(path)) == path
    assert study_path(str(tmp_path)) == path
    with pytest.raises(ConfigError, match=r"no study 'nothing'.*each is also there at the paper's size, as paper/NAME"):
        study_path("nothing")
    with pytest.raises(ConfigError) as refused:
        study_path("nothing")
    assert "paper/table" not in str(refused.value)
    assert str(refused.value).count("table") == 12


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 'extends = "study.toml"\n', "other.toml")
    with pytest.raises(ConfigError, match="comes back"):
        read_study(written(tmp_path, 'extends = "other.toml"\n'))
