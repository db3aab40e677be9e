from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torchvision.datasets

from nextpatch.data.decode import decode
from nextpatch.data.error import DataError
from nextpatch.data.sources import torchvision as module
from nextpatch.data.sources.open import open_source


@pytest.fixture
def fashion(monkeypatch, tmp_path):
    """Fashion-MNIST's files in small: 12 training and 5 test images."""
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path))
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng, made = np.random.default_rng(0), {}
    for name, count in (("train", 12), ("t10k", 5)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        made[name] = images, labels
        for kind, data in (
            ("images-idx3", struct.pack(">iiii", 2051, count, 28, 28) + images.tobytes()),
            ("labels-idx1", struct.pack(">ii", 2049, count) + labels.tobytes()),
        ):
            (raw / f"{name}-{kind}-ubyte").write_bytes(data)
            with gzip.open(raw / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(data)
    return made


def test_images_and_labels_are_torchvisions(fashion):
    for spec, name in (("torchvision:FashionMNIST", "train"), ("torchvision:FashionMNIST/test", "t10k")):
        source, (images, labels) = open_source(spec), fashion[name]
        assert len(source) == len(images)
        for i in range(len(source)):
            assert np.array_equal(decode(source.read(i), 1)[0].numpy(), images[i])
            assert source.label(i) == labels[i]
    assert source.classes[:2] == ("T-shirt/top", "Trouser")
    assert source.key(3) == "torchvision:FashionMNIST/test#3"


def test_a_worker_opens_it_anew(fashion):
    source = open_source("torchvision:FashionMNIST")
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 2000
    assert (copy.read(2), copy.label(2), copy.digest) == (source.read(2), source.label(2), source.digest)


class Named:
    def __init__(self, **kept):
        vars(self).update(kept)


@pytest.mark.parametrize(
    ("dataset", "classes"),
    [
        (Named(classes=["a", "b"], targets=torch.tensor([1, 0])), ("a", "b")),  # MNIST
        (Named(labels=np.array([1, 2, 0])), ("0", "1", "2")),  # SVHN
        (Named(_samples=[("x.png", 1), ("y.png", 0)]), ("0", "1")),  # GTSRB
        (Named(classes=["a", "b"], labels=np.array([-1, -1])), ()),  # STL10's unlabeled split
        (Named(classes=["a", "b"]), ("a", "b")),
        (Named(), ()),
    ],
)
def test_classes_are_names_or_numbers(dataset, classes):
    assert module._classes_of(dataset, module._labels_of(dataset)) == classes


def test_a_label_costs_no_image(fashion, monkeypatch):
    source = open_source("torchvision:FashionMNIST")
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "__getitem__", lambda *_: pytest.fail("decoded"))
    assert [source.label(i) for i in range(12)] == [i % 10 for i in range(12)]


def test_of_several_processes_one_downloads(fashion, monkeypatch):
    inside, most = [], []

    class Slow(torchvision.datasets.FashionMNIST):
        def __init__(self, *args, **kwargs):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.1)
            super().__init__(*args, **kwargs)
            inside.pop()

    Slow.__name__ = "FashionMNIST"  # its folder
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", Slow)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(open_source, ["torchvision:FashionMNIST"] * 3))
    assert ([len(source) for source in found], most) == ([12] * 3, [1] * 3)


def test_a_pickled_set_that_is_not_the_published_one_is_not_opened(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTPATCH_CACHE", str(tmp_path))
    folder = tmp_path / "torchvision" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return open, (str(canary), "w")

    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"]:
        (folder / name).write_bytes(pickle.dumps(Evil()))
        assert hashlib.md5((folder / name).read_bytes()).hexdigest() not in str(torchvision.datasets.CIFAR10.train_list)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", lambda self: None)
    with pytest.raises(DataError, match=r"torchvision:CIFAR10/train: Dataset not found or corrupted"):
        open_source("torchvision:CIFAR10")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:CIFAR11", "did you mean 'CIFAR10'"),
        ("torchvision:zzz", "There are MNIST, FashionMNIST"),
        ("torchvision:MNIST/val", "no split 'val'; there are train, test"),
    ],
)
def test_what_there_is_not_is_an_error_with_what_there_is(spec, message):
    with pytest.raises(DataError, match=message):
        open_source(spec)
