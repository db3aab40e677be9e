"""Every benchmark's layout, fabricated at small size; its traps; and Table 6 with our row in it."""

from __future__ import annotations

import csv
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision
from PIL import Image
from rich.console import Console

from nextpatch.bench.config import BenchConfig
from nextpatch.bench.registry import AVERAGES, BENCHMARKS, TABLE_6, Benchmark, chosen
from nextpatch.bench.run import bench
from nextpatch.cli import main
from nextpatch.config import ConfigError
from nextpatch.data.decode import decode
from nextpatch.data.error import DataError
from nextpatch.dist.ranks import Ranks
from ranks import run_ranks
from weights_layout import CONFIG, state_of, write_snapshot

BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}


def picture(path: Path, seed: int = 0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (30, 30, 3), dtype=np.uint8)).save(path)
    return path.name


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (30, 30, 3), dtype=np.uint8)).save(out, "png")
    return out.getvalue()


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def imagenet(root: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        for name in ("n01", "n02"):
            for i in range(count):
                picture(root / split / name / f"{i}.JPEG")


def inat18(root: Path) -> None:
    for split, count in (("train", 3), ("val", 2)):
        images, notes = [], []
        for i in range(2 * count):
            name = f"train_val2018/Birds/{i % 2}/{split}{i}.jpg"
            picture(root / name)
            images.append({"id": i, "file_name": name})
            notes.append({"image_id": i, "category_id": 7 if i % 2 else 3})
        values = {"images": images, "annotations": notes, "categories": [{"id": 7}, {"id": 3}]}
        (root / f"{split}2018.json").write_text(json.dumps(values))


def cifar(folder: str, meta: str, batches: dict[str, int], label: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / folder).mkdir(parents=True)
        for name, count in batches.items():
            data = np.random.default_rng(0).integers(0, 255, (count, 3072), dtype=np.uint8)
            (root / folder / name).write_bytes(pickle.dumps({"data": data, label: [i % 2 for i in range(count)]}))
        names = {"label_names": ["a", "b"], "fine_label_names": ["a", "b"]}
        (root / folder / meta).write_bytes(pickle.dumps(names))

    return write


def food101(root: Path) -> None:
    meta: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for split, count in (("train", 4), ("test", 2)):
        for name in ("pie", "soup"):
            meta[split][name] = [f"{name}/{split}{i}" for i in range(count)]
            for file in meta[split][name]:
                picture(root / "food-101" / "images" / f"{file}.jpg")
    (root / "food-101" / "meta").mkdir()
    for split, files in meta.items():
        (root / "food-101" / "meta" / f"{split}.json").write_text(json.dumps(files))


def dtd(root: Path) -> None:
    inner = root / "dtd" / "dtd"
    (inner / "labels").mkdir(parents=True)
    for split in ("train", "val", "test"):
        files = [f"{name}/{split}{i}.jpg" for name in ("dotted", "woven") for i in range(2)]
        for file in files:
            picture(inner / "images" / file)
        (inner / "labels" / f"{split}1.txt").write_text("\n".join(files) + "\n")


def pets(root: Path) -> None:
    inner = root / "oxford-iiit-pet"
    (inner / "annotations").mkdir(parents=True)
    (inner / "annotations" / "trimaps").mkdir()
    for split, count in (("trainval", 3), ("test", 2)):
        lines = []
        for number, name in enumerate(("Abyssinian", "beagle"), 1):
            for i in range(count):
                picture(inner / "images" / f"{name}_{split}{i}.jpg")
                lines.append(f"{name}_{split}{i} {number} 1 1")
        (inner / "annotations" / f"{split}.txt").write_text("\n".join(lines))


def parquet(root: Path) -> None:
    root.mkdir(parents=True)
    for split, count in (("train", 6), ("test", 4)):
        images = [{"bytes": png(i), "path": None} for i in range(count)]
        table = pa.table({"image": images, "label": [i % 2 for i in range(count)]})
        pq.write_table(table, root / f"{split}-00000-of-00001.parquet")


def iwildcam(root: Path) -> None:
    splits = ("train", "train", "val", "val", "test", "id_val")
    rows = [{"split": s, "filename": f"{i}.jpg", "y": 10 * (i % 2), "y_name": "x"} for i, s in enumerate(splits)]
    write_csv(root / "metadata.csv", rows)
    for row in rows:
        picture(root / "train" / row["filename"])


def camelyon17(root: Path) -> None:
    rows = []
    for i, (center, split) in enumerate([(0, 0), (3, 0), (0, 1), (1, 0), (1, 0), (2, 0)]):
        rows.append({"patient": f"{4 + i:03d}", "node": i, "x_coord": 10 * i, "y_coord": i, "tumor": i % 2,
                     "slide": 0, "center": center, "split": split})  # fmt: skip
        who = f"patient_{4 + i:03d}_node_{i}"
        picture(root / "patches" / who / f"patch_{who}_x_{10 * i}_y_{i}.png")
    write_csv(root / "metadata.csv", rows)


def rxrx1(root: Path) -> None:
    rows = []
    for i, (split, site) in enumerate([("train", 1), ("train", 1), ("train", 2), ("val", 1), ("val", 2), ("test", 1)]):
        rows.append({"experiment": "HEPG2-01", "plate": 1, "well": f"B{i:02d}", "site": site, "dataset": split,
                     "sirna_id": i % 2})  # fmt: skip
        picture(root / "images" / "HEPG2-01" / "Plate1" / f"B{i:02d}_s{site}.png")
    write_csv(root / "metadata.csv", rows)


def fmow(root: Path) -> None:
    rows = []
    for i, (split, year) in enumerate([("train", 2010), ("train", 2012), ("train", 2014), ("val", 2014), ("val", 2015),
                                       ("val", 2012), ("test", 2017), ("val", 2016)]):  # fmt: skip
        rows.append({"split": split, "category": ("airport", "zoo")[i % 2], "timestamp": f"{year}-05-01T10:00:00Z"})
        picture(root / "images" / f"rgb_img_{i}.png")
    write_csv(root / "rgb_metadata.csv", rows)


def infograph(root: Path) -> None:
    root.mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        lines = []
        for number, name in enumerate(("axe", "bee")):
            for i in range(count):
                picture(root / "infograph" / name / f"{split}_{i}.jpg")
                lines.append(f"infograph/{name}/{split}_{i}.jpg {number}")
        (root / f"infograph_{split}.txt").write_text("\n".join(lines) + "\n")


CIFAR_10 = {**{f"data_batch_{i}": 2 for i in range(1, 6)}, "test_batch": 4}
LAYOUTS: dict[str, tuple[Callable[[Path], None], tuple[int, int, int]]] = {
    "imagenet": (imagenet, (8, 4, 2)),
    "inat18": (inat18, (6, 4, 2)),
    "cifar10": (cifar("cifar-10-batches-py", "batches.meta", CIFAR_10, "labels"), (10, 4, 2)),
    "cifar100": (cifar("cifar-100-python", "meta", {"train": 6, "test": 4}, "fine_labels"), (6, 4, 2)),
    "food101": (food101, (8, 4, 2)),
    "dtd": (dtd, (8, 4, 2)),
    "pets": (pets, (6, 4, 2)),
    "cars": (parquet, (6, 4, 2)),
    "iwildcam": (iwildcam, (2, 2, 2)),
    "camelyon17": (camelyon17, (2, 2, 2)),
    "pcam": (parquet, (6, 4, 2)),
    "rxrx1": (rxrx1, (2, 2, 2)),
    "eurosat": (parquet, (6, 4, 2)),
    "fmow": (fmow, (2, 2, 2)),
    "infograph": (infograph, (6, 4, 2)),
}


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision opens CIFAR's pickles only when their MD5 is the published one; ours are made here."""
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_published_layout_is_read_and_its_counts_are_checked(name: str, tmp_path: Path, unchecked: None) -> None:
    write, counts = LAYOUTS[name]
    write(tmp_path / name)
    train, test = BY_NAME[name].opened(tmp_path, any_counts=True)
    assert (len(train), len(test), len(train.classes)) == counts
    for source in (train, test):
        keys = [source.key(i) for i in range(len(source))]
        assert len(set(keys)) == len(keys)
        for i in range(len(source)):
            assert source.label(i) in (0, 1)
            assert decode(source.read(i), 3).shape[0] == 3
    assert not {train.key(i) for i in range(len(train))} & {test.key(i) for i in range(len(test))}
    with pytest.raises(DataError, match="Table 9"):
        BY_NAME[name].opened(tmp_path)


def test_all_fifteen_have_a_layout_a_licence_and_the_papers_counts() -> None:
    assert set(LAYOUTS) == set(BY_NAME)
    assert len(BENCHMARKS) == 15
    assert all(benchmark.licence for benchmark in BENCHMARKS)
    assert sum(benchmark.counts[0] for benchmark in BENCHMARKS) == 2_774_101
    assert sum(benchmark.counts[1] for benchmark in BENCHMARKS) == 266_650
    assert [benchmark.counts[2] for benchmark in BENCHMARKS] == [
        1000, 8142, 10, 100, 101, 47, 37, 196, 182, 2, 2, 1139, 10, 62, 345,
    ]  # fmt: skip


def test_table_6_has_the_averages_that_the_paper_prints() -> None:
    for (name, figures), printed in zip(TABLE_6.items(), AVERAGES, strict=True):
        assert sum(figures) / 15 == pytest.approx(printed, abs=0.101), name


def test_the_traps() -> None:
    assert "held" in BY_NAME["pcam"].note or "not known" in BY_NAME["pcam"].note
    assert "not known" in BY_NAME["eurosat"].note
    for name in ("iwildcam", "camelyon17", "rxrx1", "fmow"):
        assert "out-of-distribution validation" in BY_NAME[name].note


def test_names_are_checked_and_kept_in_the_papers_order() -> None:
    assert [benchmark.name for benchmark in chosen(("pets,cifar10", "dtd"))] == ["cifar10", "dtd", "pets"]
    with pytest.raises(ValueError, match="no benchmark mnist; there are imagenet"):
        chosen(("mnist",))
    with pytest.raises(ValueError, match=r"no benchmark pet \(did you mean 'pets'\?\); there are"):
        chosen(("pet",))
    with pytest.raises(DataError, match="cannot be downloaded"):
        BY_NAME["fmow"].opened(None)
    with pytest.raises(DataError, match="does not exist"):
        BY_NAME["fmow"].opened(Path("nowhere"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "weights", state_of(CONFIG), CONFIG)


def config(weights: Path, tmp_path: Path, **changes: Any) -> BenchConfig:
    given = {"only": ("food101", "pets"), "root": tmp_path / "data", "epochs": 2, "batch_size": 4, "device": "cpu",
             "any_counts": True} | changes  # fmt: skip
    return BenchConfig(str(weights), tmp_path / "out", **given)


def test_a_list_of_benchmarks_goes_on_where_it_was(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    food101(tmp_path / "data" / "food101")
    console = Console(file=io.StringIO(), width=250)
    found = bench(config(weights, tmp_path), console).results
    assert set(found) == {"food101"}  # pets are not there
    assert "Oxford-IIIT Pets was not measured" in console.file.getvalue()  # type: ignore[attr-defined]
    pets(tmp_path / "data" / "pets")
    opened: list[str] = []
    real = Benchmark.opened
    monkeypatch.setattr(Benchmark, "opened", lambda self, *a: (opened.append(self.name), real(self, *a))[1])
    found = bench(config(weights, tmp_path), console).results
    assert opened == ["food101", "pets"]  # the first only to see that its images are the same
    assert console.file.getvalue().count("measured before") == 1  # type: ignore[attr-defined]
    assert set(found) == {"food101", "pets"}
    page = (tmp_path / "out" / "bench.md").read_text()
    assert "| AIM-0.6B | 90.1 | 93.0 | 91.5 |" in page
    assert "NOT the benchmark's own 75,750, 25,250 and 101" in page
    assert "NOT the paper's recipe: epochs 2, batch 4" in page
    lines = list(csv.reader((tmp_path / "out" / "bench.csv").read_text().splitlines()))
    assert lines[0] == ["model", "Food-101", "Oxford-IIIT Pets", "average"]
    assert len(lines) == 2 + len(TABLE_6)
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["results"]["pets"]["counts"] == [6, 4, 2]
    other = write_snapshot(tmp_path / "other", state_of(CONFIG, seed=1), CONFIG)
    with pytest.raises(ConfigError, match="weights_sha256"):
        bench(config(other, tmp_path), console)


def by_ranks(weights: str, folder: str) -> dict[str, Any]:
    given = config(Path(weights), Path(folder), epochs=1, augment="none")
    with Ranks.opened() as world:
        return bench(given, Console(file=io.StringIO()), world).to_dict()["results"]


def test_ranks_have_the_same_results_and_leave_out_the_same(weights: Path, tmp_path: Path) -> None:
    pets(tmp_path / "data" / "pets")  # and no food101
    one, two = run_ranks(by_ranks, 2, str(weights), str(tmp_path))
    assert one == two
    assert list(one) == ["pets"]
    assert run_ranks(by_ranks, 2, str(weights), str(tmp_path)) == [one, one]  # measured before


@pytest.mark.parametrize("name", ["bench.md", "bench.csv", "bench.json"])
def test_somebodys_table_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(ValueError, match=f"{name} exists and was not written by nextpatch"):
        bench(config(tmp_path / "nowhere", tmp_path))


def test_as_typed_with_the_papers_choice(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pets(tmp_path / "data" / "pets")
    words = ["bench", "--weights", str(weights), "--out", str(tmp_path / "out"), "--root", str(tmp_path / "data"),
             "--only", "pets", "--epochs", "1", "--batch-size", "2", "--device", "cpu",
             "--augment", "none"]  # fmt: skip
    assert main(words) == 2
    assert "--any-counts" in capsys.readouterr().err
    assert main([*words, "--any-counts", "--select-on", "paper"]) == 0
    assert "Table 6" in capsys.readouterr().out
    assert "chosen on the test images, as in the paper" in (tmp_path / "out" / "bench.md").read_text()


def again(weights: Path, tmp_path: Path, **changes: Any) -> BenchConfig:
    return config(weights, tmp_path, **{"only": ("pets",), "augment": "none", "epochs": 1, **changes})


def quiet() -> Console:
    return Console(file=io.StringIO(), width=250)


@pytest.fixture
def measured(weights: Path, tmp_path: Path) -> Path:
    """A folder with one result."""
    pets(tmp_path / "data" / "pets")
    bench(again(weights, tmp_path), quiet())
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 3), ("batch_size", 2), ("layers", ("0",)), ("augment", "paper"), ("seed", 1), ("select_on", "paper")],
)
def test_what_was_measured_otherwise_is_not_taken_for_what_is_asked(
    name: str, value: Any, weights: Path, tmp_path: Path, measured: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*\(now"):
        bench(again(weights, tmp_path, **{name: value}), quiet())


def test_other_images_are_not_taken_for_the_measured_ones(weights: Path, tmp_path: Path, measured: Path) -> None:
    inner = tmp_path / "data" / "pets" / "oxford-iiit-pet" / "images"
    picture(inner / "beagle_test0.jpg", seed=77)
    with pytest.raises(ConfigError, match="other test images"):
        bench(again(weights, tmp_path), quiet())
    shutil.rmtree(tmp_path / "data")
    assert bench(again(weights, tmp_path), quiet()).results["pets"].counts == (6, 4, 2)  # the result is still there


def test_a_damaged_result_is_named(weights: Path, tmp_path: Path, measured: Path) -> None:
    path = measured / "pets" / "result.json"
    path.write_text(path.read_text().replace('"top1": ', '"top1": 1'))
    with pytest.raises(ConfigError, match=r"result\.json.*measured again"):
        bench(again(weights, tmp_path), quiet())
