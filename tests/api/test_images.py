"""Images as a program has them become one collection, whatever form they have; what cannot is refused in words."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor
from torchvision.transforms.v2 import PILToTensor, RandomHorizontalFlip

import nextpatch
from nextpatch.api.images import named
from nextpatch.data.decode import decode
from nextpatch.data.error import DataError
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 9, 8, 3), np.uint8)
NAMES = ("cat", "dog")
LABELS = [0, 1, 0, 1, 1, 0]
PILLOW = [Image.fromarray(one) for one in PIXELS]
ARRAYS, TENSORS = list(PIXELS), torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (picture, label) in enumerate(zip(PILLOW, LABELS, strict=True)):
        place = tmp_path / "photos" / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number}.png")
    return tmp_path / "photos"


class OwnDataset(Dataset[Any]):
    """As people write them: images alone, or with labels."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def pixels_of(source: Source) -> np.ndarray:
    return np.stack([decode(source.read(i), 3).permute(1, 2, 0).numpy() for i in range(len(source))])


FORMS: dict[str, Any] = {
    "pillow": PILLOW, "arrays": ARRAYS, "array": PIXELS, "tensors": list(TENSORS), "tensor": TENSORS,
    "floats": TENSORS / 255, "tuple": tuple(ARRAYS), "dataset": OwnDataset(PILLOW), "made": nextpatch.dataset(PIXELS),
    "loader": DataLoader(OwnDataset(ARRAYS), batch_size=2, shuffle=True), "tensor data set": TensorDataset(TENSORS),
    "subset": Subset(OwnDataset(ARRAYS), range(6)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images_and_no_classes(form: str) -> None:
    given = named(FORMS[form])
    source = open_source(given.one("data"))
    assert np.array_equal(pixels_of(source), PIXELS)
    assert not source.classes


LABELED: dict[str, Any] = {
    "pairs": list(zip(PILLOW, LABELS, strict=True)), "two": (PIXELS, LABELS), "two arrays": (PIXELS, np.array(LABELS)),
    "tensors": (TENSORS, torch.tensor(LABELS)), "names": (ARRAYS, [NAMES[label] for label in LABELS]),
    "dataset": OwnDataset(list(zip(ARRAYS, LABELS, strict=True))),
    "tensor data set": TensorDataset(TENSORS, torch.tensor(LABELS)),
    "made": nextpatch.dataset(PIXELS, LABELS, classes=NAMES),
    "booleans": list(zip(ARRAYS, [label == 1 for label in LABELS], strict=True)),
}  # fmt: skip


@pytest.mark.parametrize("form", LABELED)
def test_labels_come_along_where_they_matter(form: str) -> None:
    given = named(LABELED[form], labels=True)
    source = open_source(given.one("data"))
    assert np.array_equal(pixels_of(source), PIXELS)
    assert [source.label(i) for i in range(6)] == LABELS
    assert source.classes == (NAMES if form in ("names", "made") else ("0", "1"))
    alone = named(LABELED[form])
    assert not open_source(alone.one("data")).classes
    relabeled = named((PIXELS, LABELS[::-1]), labels=True)
    assert relabeled.names != given.names


def test_files_folders_and_data_sets_of_torchvision(folder: Path) -> None:
    assert named(folder).names == (str(folder),)
    assert named([f"{folder}=0.3", "demo:train=0.7"]).names == (f"{folder}=0.3", "demo:train=0.7")
    files = sorted(folder.rglob("*.png"))
    listed = named((files, ["a"] * 3 + ["b"] * 3), labels=True)
    source = open_source(listed.one("data"))
    assert [source.key(i) for i in range(6)] == list(map(str, files))
    assert source.classes == ("a", "b")
    for transform in (None, ToTensor(), PILToTensor()):
        found = named(ImageFolder(folder, transform), labels=True)
        source = open_source(found.one("data"))
        assert source.classes == NAMES
        assert [source.label(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
        assert np.array_equal(pixels_of(source), np.stack([np.asarray(Image.open(file)) for file in files]))


class Counting(OwnDataset):
    """Knows its labels, and counts how often an image is asked for."""

    reads = 0

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return super().__getitem__(index)


def test_labels_that_a_data_set_keeps_cost_no_pass_and_wrong_ones_are_not_believed() -> None:
    samples = [(PIXELS[i % 6], i % 3) for i in range(600)]
    kept, wrong = Counting(samples), Counting(samples)
    kept.targets, wrong.targets = [i % 3 for i in range(600)], [0] * 600  # type: ignore[attr-defined]
    for data in (kept, wrong):
        given = named(data, labels=True)
        source = open_source(given.one("data"))
        assert [source.label(i) for i in range(6)] == [0, 1, 2, 0, 1, 2]
    assert kept.reads < 300 < 600 < wrong.reads


def test_a_changed_image_is_another_collection_and_a_name_keeps_it_one() -> None:
    changed = PIXELS.copy()
    changed[3, 0, 0, 0] += 1
    for form in (lambda pixels: pixels, list, lambda pixels: OwnDataset(list(pixels))):
        one, same, other = (named(form(pixels)) for pixels in (PIXELS, PIXELS.copy(), changed))
        assert one.names == same.names != other.names
    first, second = (nextpatch.dataset(pixels, name="mine") for pixels in (PIXELS, changed))
    assert first.unlabeled.digest == second.unlabeled.digest
    assert named(first).names == ("python:mine",)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([], "empty"), (np.zeros((0, 8, 8), np.uint8), "empty"), (OwnDataset([]), "empty"),
        (np.array([ARRAYS[0], ARRAYS[1][:5]], dtype=object), "list of the arrays"), (PIXELS[0], r"\[image\]"),
        (PIXELS.astype(np.float32), "floats in \\[0, 1\\]"), (PIXELS.astype(np.int64), "no known range"),
        ([{"image": PIXELS[0]}], "not an image"), ({"a": 1}, "a single object"), (iter(ARRAYS), r"list\(images\)"),
        ((PIXELS, [0, 1]), "6 images and 2 labels"), (OwnDataset([{"image": 1}]), "put another data set around it"),
        (DataLoader(OwnDataset(ARRAYS), collate_fn=len), "its own collate_fn"),
        (DataLoader(OwnDataset(ARRAYS), sampler=WeightedRandomSampler([1.0] * 6, 6)), "its own sampler"),
        (PILLOW[0], "a single object"), (3, "not a collection"), (None, "not a collection"),
    ],
)  # fmt: skip
def test_what_is_no_collection_is_refused_with_what_to_do(data: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        named(data)


def test_random_transforms_and_streams_are_refused(folder: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(ARRAYS)

    with pytest.raises(DataError, match="random transforms"):
        named(ImageFolder(folder, RandomHorizontalFlip()))
    for data in (Stream(), DataLoader(Stream())):
        with pytest.raises(DataError, match="by number"):
            named(data)


def test_one_label_for_each_kind(folder: Path) -> None:
    with pytest.raises(DataError, match="class numbers or class names"):
        named((ARRAYS, [0, "cat", 1, 0, 1, 1]), labels=True)


def test_a_data_set_of_hugging_face(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = [str(folder / NAMES[label] / f"{i}.png") for i, label in enumerate(LABELS)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    data = datasets.Dataset.from_dict({"image": files, "label": LABELS}, features=features)
    for form in (data, data.with_format("torch")):
        given = named(form, labels=True)
        source = open_source(given.one("data"))
        assert np.array_equal(pixels_of(source), PIXELS)
        assert source.classes == NAMES
        assert [source.label(i) for i in range(6)] == LABELS
        assert source.read(0) == Path(files[0]).read_bytes()
    shuffled = data.shuffle(seed=0)
    assert named(shuffled).names != named(data).names
    for wrong, told in (
        (datasets.DatasetDict(train=data), r"\['train'\]"), (data.remove_columns("image"), "columns of images"),
        (data.to_iterable_dataset(), "streaming"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=told):
            named(wrong)


def test_a_dataset_gives_pictures_with_labels_by_number() -> None:
    data = nextpatch.dataset(PIXELS, [NAMES[label] for label in LABELS])
    assert [np.array_equal(np.asarray(image), PIXELS[i]) for i, (image, _) in enumerate(data)] == [True] * 6
    assert ([label for _, label in data], data.classes) == (LABELS, NAMES)
    assert data[-1][1] == LABELS[-1]
    part = data[1::2]
    assert ([label for _, label in part], part.classes) == (LABELS[1::2], NAMES)
    assert np.array_equal(pixels_of(part.unlabeled), PIXELS[1::2])
    assert part.unlabeled.digest != data[0::2].unlabeled.digest
    with pytest.raises(IndexError, match="6 images"):
        data[6]
    shipped = nextpatch.dataset("demo:test")
    assert named(shipped, labels=True).names == ("demo:test",)  # files stay files
    assert len(shipped.classes) == 10
    assert nextpatch.dataset("demo:test", name="mine").unlabeled.name == "python:mine"
    loaded = next(iter(DataLoader(shipped, batch_size=4, collate_fn=list)))
    assert [label for _, label in loaded] == [shipped[i][1] for i in range(4)]
    assert nextpatch.dataset(np.zeros((2, 8, 8, 5), np.uint8))[0][0].shape == (8, 8, 5)


def test_who_gives_no_labels_is_told_how_to_give_them(nano_run: nextpatch.PretrainResult) -> None:
    with pytest.raises(DataError, match=r"no labels to learn from: give \(images, labels\)"):
        nextpatch.probe(nano_run, np.zeros((4, 28, 28), np.uint8), quiet=True)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.eye(2, dtype=np.uint8)[LABELS], r"of shape \(6, 2\)"), ([], "the labels are empty"),
        ({0: 1}, "the labels are dict"), ([[0, 1]] * 6, "the labels are list"), ("abcdef", "the labels are str"),
        ([-5, 1, 0, 1, 1, 0], "down to -5"), (torch.zeros(6, 1), r"of shape \(6, 1\)"),
    ],
)  # fmt: skip
def test_what_are_no_labels_is_said_of_the_labels_and_never_taken_for_an_image(labels: Any, told: str) -> None:
    for images in (PIXELS, PIXELS[..., 0], PILLOW):
        for give in (lambda images=images: named((images, labels), labels=True),
                     lambda images=images: nextpatch.dataset(images, labels).classes):  # fmt: skip
            with pytest.raises(DataError, match=told):
                give()


def test_labels_of_any_sequence(folder: Path) -> None:
    for labels in ([float(one) for one in LABELS], np.array(LABELS, np.float32), range(6)):
        given = named((PIXELS, labels), labels=True)
        assert [open_source(given.one("data")).label(i) for i in range(6)] == [int(one) for one in labels]


def test_names_of_classes_are_as_given_or_refused() -> None:
    named_so = nextpatch.dataset(PIXELS, [NAMES[label] for label in LABELS], classes=NAMES[::-1])
    assert (named_so.classes, [label for _, label in named_so]) == (NAMES[::-1], [1 - label for label in LABELS])
    wrong: list[tuple[Any, Any, str]] = [
        (LABELS, ["cat"], "label '1' is none"), (LABELS, ["cat", "cat"], "twice"), (LABELS, "ab", "list of names"),
        (["cat", "fox", "cat"] * 2, NAMES, "'fox' is none"), (None, NAMES, "give labels"),
    ]  # fmt: skip
    for labels, classes, told in wrong:
        with pytest.raises(DataError, match=told):
            nextpatch.dataset(PIXELS, labels, classes=classes).labeled  # noqa: B018


class Failing(OwnDataset):
    """Cannot make some of its samples, the first among them."""

    def __getitem__(self, index: int) -> Any:
        if index in (0, 3):
            raise RuntimeError("cannot be made")
        return super().__getitem__(index)


def test_a_sample_that_cannot_be_made_is_one_without_a_label_and_none_at_all_is_told() -> None:
    source = open_source((given := named(Failing(list(zip(PIXELS, LABELS, strict=True))), labels=True)).one("data"))
    assert given
    assert [source.label(i) for i in range(6)] == [None, 1, 0, None, 1, 0]
    first_unlabeled = named(OwnDataset(list(zip(PIXELS, [None, *LABELS[1:]], strict=True))), labels=True)
    assert open_source(first_unlabeled.one("data")).label(1) == 1
    with pytest.raises(DataError, match="none of its images; of number 1: RuntimeError: cannot be made"):
        named(Subset(Failing(ARRAYS), [0, 3]))
    for wrong in (torch.zeros(9, 8), [1, 2], {"boxes": 1}):
        with pytest.raises(DataError, match="the label of image 0 is"):
            nextpatch.dataset(OwnDataset([(image, wrong) for image in ARRAYS])).labeled  # noqa: B018


def test_labels_that_a_data_set_changes_are_not_those_that_it_keeps() -> None:
    data = OwnDataset([(PIXELS[i % 6], 9 if i == 30 else i % 3) for i in range(60)])
    data.targets, data.classes = [i % 3 for i in range(60)], ["a", "b", "c"]  # type: ignore[attr-defined]
    assert nextpatch.dataset(data)[30][1] == 9
    data.target_transform = lambda label: label  # type: ignore[attr-defined]
    assert nextpatch.dataset(data).classes == tuple(map(str, range(10)))
    known = OwnDataset(list(zip(PIXELS, LABELS, strict=True)))
    known.classes = list(NAMES)  # type: ignore[attr-defined]
    assert nextpatch.dataset(Subset(Subset(known, [5, 4, 3, 2]), [0, 1])).classes == NAMES


def test_a_loader_that_leaves_images_out_is_refused() -> None:
    data = OwnDataset(ARRAYS)
    some = SubsetRandomSampler([0, 1])
    for loader in (
        DataLoader(data, batch_sampler=BatchSampler(some, 2, False)),
        DataLoader(data, sampler=RandomSampler(data, replacement=True)),
        DataLoader(data, sampler=SequentialSampler(range(3))),
    ):  # fmt: skip
        with pytest.raises(DataError, match="its own"):
            named(loader)


def test_images_that_cannot_be_read_are_told_as_that() -> None:
    closed = PILLOW[0].copy()
    closed.close()
    images = (
        closed, Image.new("L", (0, 0)), torch.zeros(3, 8, 8, device="meta"), TENSORS[0].to_sparse(),
    )  # fmt: skip
    for image in images:
        with pytest.raises(DataError, match="cannot be read"):
            named([image])
    half = torch.tensor([[0.0, 0.5], [1.0, 0.5]]).to(torch.float8_e4m3fn)
    assert open_source((given := named([half])).one("data")).read(0)
    assert given


def test_a_list_of_files_is_one_even_where_some_are_missing(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    given = named([files[0], folder / "gone.png", files[1]])
    assert len(open_source(given.one("data"))) == 3


def test_images_of_one_class_alone_measure_nothing(nano_run: nextpatch.PretrainResult) -> None:
    with pytest.raises(DataError, match="one class alone, '1'"):  # -1 is no label
        nextpatch.probe(nano_run, (np.zeros((24, 28, 28), np.uint8), [-1, 1] * 12), quiet=True)


def test_what_is_tested_must_not_be_learned_whatever_form_it_has(
    nano_run: nextpatch.PretrainResult, tmp_path: Path
) -> None:
    pixels, labels = np.random.default_rng(3).integers(0, 255, (24, 28, 28), np.uint8), [0, 1] * 12
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(label) / f"{number}.png")
    forms: list[Any] = [
        (pixels / 255, labels), ([Image.fromarray(one) for one in pixels[::-1]], labels[::-1]), tmp_path,
        (torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1), labels),
    ]  # fmt: skip
    for test in forms:
        with pytest.raises(DataError, match="24 of 24"):
            nextpatch.probe(nano_run, (pixels, labels), test=test, quiet=True)


def test_validation_images_that_are_learned_from_are_told_in_memory_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (24, 28, 28), np.uint8)
    small: dict[str, Any] = {"model": "nano", "depth": 1, "steps": 1, "report": False, "patch_size": 7, "quiet": True}
    nextpatch.pretrain(pixels, tmp_path / "run", val=[Image.fromarray(one) for one in pixels[:4]], **small)
    assert "4 of 4" in caplog.text


def test_chance_is_found_even_where_there_is_one_image() -> None:
    class Now(OwnDataset):
        def __getitem__(self, index: int) -> Any:
            return PIXELS[index] if np.random.default_rng().random() < 0.7 else PIXELS[index, :, ::-1]

    with pytest.raises(DataError, match="random transforms"):
        named(Now(PIXELS[:1]))


def test_data_sets_and_neighbors_travel_to_another_process(nano_run: nextpatch.PretrainResult) -> None:
    for data in (nextpatch.dataset(PIXELS, LABELS), nextpatch.dataset("demo:test", name="mine")[:6]):
        there = pickle.loads(pickle.dumps(data))
        assert [(np.asarray(image).tolist(), label) for image, label in there] == [
            (np.asarray(image).tolist(), label) for image, label in data
        ]
        assert there.labeled.digest == data.labeled.digest
    found = nextpatch.similar(nextpatch.embed(nano_run, PIXELS, quiet=True), PIXELS[2], k=2, quiet=True)
    assert np.array_equal(*(np.asarray(one.picture()) for one in (found, pickle.loads(pickle.dumps(found)))))
