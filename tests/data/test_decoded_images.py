from __future__ import annotations

import pickle

import pytest
import torch

from nextpatch.data.decode import BadImage
from nextpatch.data.images import Images


def counting(source):
    """The source, and the list of indices read from it."""
    read, seen = source.read, []
    source.read = lambda index: seen.append(index) or read(index)
    return seen


def test_a_small_collection_is_decoded_once(memory):
    source = memory(3)
    seen = counting(source)
    images = Images(source, 1, count=3, keep_bytes=3 * 64)
    first = [images[i] for i in range(3)]
    assert all(torch.equal(images[i], first[i]) for i in range(3))
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(("count", "room"), [(4, 3 * 64), (3, 0)])
def test_a_large_one_takes_no_memory(memory, count, room):
    source = memory(3)
    seen = counting(source)
    images = Images(source, 1, count, room)
    for index in (0, 1, 0, 1):
        assert images[index].shape == (1, 8, 8)
    assert seen == [0, 1, 0, 1]


def test_room_is_kept_to_when_later_images_are_larger(memory, png, noise):
    source = memory(3)
    source._images[1] = png(noise(40, 40))
    seen = counting(source)
    images = Images(source, 1, count=3, keep_bytes=200)
    for index in (0, 1, 2, 0, 1, 2):
        assert images[index].shape[0] == 1
    assert seen == [0, 1, 2, 1]


def test_a_bad_image_and_a_lost_file_are_told_apart(memory):
    source = memory(2, bad=(0,))
    source._images[1] = b"gone"
    images = Images(source, 1)
    for _ in range(2):
        with pytest.raises(BadImage, match="known format"):
            images[0]
        with pytest.raises(OSError, match="no such file"):
            images[1]


def test_workers_get_no_decoded_images(memory):
    images = Images(memory(3), 1, count=3, keep_bytes=1000)
    before = len(pickle.dumps(images))
    assert images[0].shape == (1, 8, 8)
    copy = pickle.loads(pickle.dumps(images))
    assert len(pickle.dumps(images)) == before
    assert torch.equal(copy[0], images[0])
