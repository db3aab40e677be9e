"""Files become samples as WebDataset groups them; what cannot be grouped is rejected by name."""

from __future__ import annotations

import json
import tarfile

import pytest

from archives import archive, grouped, header, images, padded
from nextpatch.data.error import DataError
from nextpatch.data.tar import samples as samples_module
from nextpatch.data.tar.samples import divided


def label_of(*files: tuple[str, bytes]) -> int | str:
    """The label of a sample with these files beside its image."""
    return grouped(archive([("a.jpg", b"x"), *files]))[0][0].label


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_layout_of_img2dataset(kind: int) -> None:
    files = images(7)
    whole = archive(files, kind)
    found, reader = grouped(whole)
    assert [sample.key for sample in found] == [b"%09d" % i for i in range(7)]
    assert [whole[sample.offset :][: sample.size] for sample in found] == [data for _, data in files[::3]]
    assert [sample.label for sample in found] == [0, 1, 2, 3, 4, 0, 1]
    assert not reader.skipped


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", "jpg")),
        ("x/y.z/a.seg.PNG", ("x/y.z/a", "seg.png")),
        ("./a.jpg", ("./a", "jpg")),
        ("a", ("a", "")),
        ("x.y/a", ("x.y/a", "")),
        ("Shot at 10.30.02.jpg", ("Shot at 10.30.02", "jpg")),
        ("john.smith.jpg", ("john.smith", "jpg")),
        ("a.input.jpg", ("a", "input.jpg")),
        ("a/@eaDir/b.jpg", ("", "")),
        ("x/.hidden.jpg", ("", "")),
        ("x/._a.jpg", ("", "")),
        ("a.", ("a", "")),
    ],
)
def test_a_key_ends_at_the_first_dot_that_is_not_part_of_the_name(name: str, expected: tuple[str, str]) -> None:
    assert divided(name.encode()) == tuple(part.encode() for part in expected)


def test_keys_and_kinds_are_webdatasets() -> None:
    """But for hidden files in folders, which it takes for files of a key that is the folder's name."""
    theirs = pytest.importorskip("webdataset.tariterators")
    for name in ("a.jpg", "x/y.z/a.seg.PNG", "a.b/c.mask.e", "./a.jpg", ".jpg", "a.", "é.webp", "//a.b"):
        key, kind = theirs.base_plus_ext(name)
        assert divided(name.encode()) == ((key or "").encode(), (kind or "").lower().encode())


@pytest.mark.parametrize("kind", ["jpg", "JPEG", "png", "webp", "bmp", "gif", "tif", "TIFF", "npy"])
def test_images_by_their_ending(kind: str) -> None:
    assert len(grouped(archive([(f"a.{kind}", b"x")]))[0]) == 1


def test_what_is_no_image_is_counted_and_never_looked_into() -> None:
    loaded = b"cos\nsystem\n(S'touch owned'\ntR."
    payloads = [(f"a.{kind}", loaded) for kind in ("pkl", "pyd", "pt", "pth", "npz", "ten", "txt", "pickle")]
    found, reader = grouped(archive([*payloads, ("b.seg.png", b"x"), (".c.jpg", b"x"), ("d.jpg", b"x")]))
    assert [sample.key for sample in found] == [b"d"]
    assert reader.skipped == {
        ".pyd file": 1,
        ".ten file": 1,
        "file of a key without an image": 9,
        "hidden file": 1,
    }


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (b"7", 7),
        (b" 12\n", 12),
        (b"0", 0),
        (b"-1", -1),
        (b"cat", "cat"),
        (b"3.0", 3),
        (b"a\nb", -1),
        (b"a" * 300, -1),
        (b"", -1),
        (b"9" * 70, -1),
        (b"1_1", "1_1"),
        (b"3e2", "3e2"),
        (b"nan", -1),
        (b"0.5", -1),
    ],
)
def test_a_label_beside_the_image(cls: bytes, expected: int | str) -> None:
    assert label_of(("a.cls", cls)) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"label": 3}, 3),
        ({"cls": 4}, 4),
        ({"label": None, "cls": 5}, 5),
        ({"label": "dog"}, "dog"),
        ({"label": True}, 1),
        ({"label": 2.0}, 2),
        ({"label": 2.5}, -1),
        ({"label": 10**9}, -1),
        ({"key": "1", "url": "x"}, -1),
        ([1, 2], -1),
        (7, -1),
    ],
)
def test_a_label_in_json(document: object, expected: int | str) -> None:
    assert label_of(("a.json", json.dumps(document).encode())) == expected


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 900_000, b"\xff\xfe", b'{"label": ' + b"9" * 9000 + b"}", b" " * 2**21]
)
def test_no_json_does_harm(text: bytes) -> None:
    assert label_of(("a.json", text)) == -1


def test_cls_goes_before_json_and_labels_before_the_image_count_too() -> None:
    found, _ = grouped(archive([("a.json", b'{"label": 1}'), ("a.CLS", b"2"), ("a.jpg", b"x")]))
    assert [sample.label for sample in found] == [2]


def test_what_looks_like_a_label_and_is_none_is_counted() -> None:
    _, reader = grouped(
        archive([("a.jpg", b"x"), ("a.cls", b"1.5"), ("b.jpg", b"x"), ("b.json", b'{"label": 10000000}')])
    )
    assert reader.skipped == {"label that is no class": 2}


def test_two_images_for_a_key_are_rejected_by_name() -> None:
    with pytest.raises(DataError, match=r"x\.tar: key 001 has a second image at byte 1024"):
        grouped(archive([("001.jpg", b"x"), ("001.png", b"y")]))
    with pytest.raises(DataError, match=r"a second cls"):
        grouped(archive([("1.cls", b"1"), ("1.jpg", b"y"), ("1.CLS", b"2")]))


def test_keys_that_come_back_are_rejected_by_name() -> None:
    with pytest.raises(DataError, match=r"x\.tar: key a is at byte 2048 again, after others; .*tar --sort=name"):
        grouped(archive([("a.jpg", b"x"), ("b.jpg", b"y"), ("a.cls", b"1")]))
    with pytest.raises(DataError, match="key 000000000 is at byte"):
        grouped(archive([*images(300), ("000000000.jpg", b"again")]))


def test_an_image_that_is_too_large_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples_module, "MAX_IMAGE", 2**20)
    found, reader = grouped(archive([("a.jpg", bytes(2**20 + 1)), ("b.jpg", bytes(2**20))]))
    assert [sample.key for sample in found] == [b"b"]
    assert reader.skipped == {"image of more than 1 MiB": 1}


def test_links_to_secrets_are_no_samples() -> None:
    link = header(b"a.jpg", 0, b"2")
    found, reader = grouped(link + header(b"b.jpg", 2) + padded(b"ok") + bytes(1024))
    assert [sample.key for sample in found] == [b"b"]
    assert reader.skipped == {"link": 1}


def test_names_with_dots_cost_no_image_and_one_of_several_images_is_the_input() -> None:
    names = [f"{i:03d}.jpg" if i % 2 else f"Shot at 10.30.{i:02d}.jpg" for i in range(20)]
    assert len(grouped(archive([(name, b"x") for name in names]))[0]) == 20
    found, reader = grouped(archive([("1.mask.png", b"m"), ("1.input.jpg", b"xx"), ("1.cls", b"3")]))
    assert [(sample.key, sample.size, sample.label) for sample in found] == [(b"1", 2, 3)]
    assert reader.skipped == {"further image of a key (as mask)": 1}


def test_images_of_any_ending_are_told_by_their_first_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples_module, "is_read", lambda kind: kind not in ("heic", "raw"))
    monkeypatch.setattr(samples_module, "image_endings", lambda: frozenset({"jpg"}))
    jpeg = b"\xff\xd8\xff\xe0"
    found, reader = grouped(
        archive([("a", jpeg), ("b.2024", jpeg), ("c.heic", b"x"), ("d.odd", b"x"), ("e.cr2", b"x")])
    )
    assert [sample.key for sample in found] == [b"a", b"b"]
    assert reader.skipped[".heic file (pip install 'nextpatch[heif]' reads them)"] == reader.skipped[".odd file"] == 1
    assert reader.skipped[".cr2 file (save raw photos as TIFF or JPEG)"] == 1
