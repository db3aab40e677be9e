"""Features of a folder: the right numbers, exactly once, through kills, in every format."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file

import nextpatch
from embed_fixtures import COUNT
from nextpatch.cli import main
from nextpatch.config import ConfigError
from nextpatch.data.decode import decode
from nextpatch.data.sources.open import open_source
from nextpatch.data.sources.source import Source
from nextpatch.data.views import eval_view
from nextpatch.dist.ranks import Ranks
from nextpatch.tasks.embed import run as runs
from nextpatch.tasks.embed.columns import facts_of
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.embedder import Embedder
from nextpatch.tasks.embed.run import embed
from ranks import run_ranks

FAST: dict[str, Any] = {"device": "cpu", "precision": "fp32", "batch_size": 4, "shard_images": 6}


def config(photos: Path, weights: Path, out: Path, **changes: Any) -> EmbedConfig:
    return EmbedConfig(str(photos), str(weights), out, **{**FAST, **changes})


def view(path: str) -> torch.Tensor:
    return eval_view(decode(Path(path).read_bytes(), 3), (28, 28))[None]


def vectors(path: Path, column: str = "features") -> dict[str, np.ndarray]:
    table = pq.read_table(path)
    return dict(zip(table["path"].to_pylist(), (np.array(v) for v in table[column].to_pylist()), strict=True))


def test_the_features_are_the_models(photos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.parquet"
    done = embed(config(photos, weights, out))
    assert (done.images, done.skipped) == (COUNT, 2)
    model = nextpatch.load(weights)
    found = vectors(out)
    assert len(found) == COUNT
    for path, values in list(found.items())[::5]:
        with torch.no_grad():
            wanted = model.pool(model.read(model.inputs(view(path))))[0]
        np.testing.assert_allclose(values, wanted.numpy(), rtol=2e-3, atol=2e-3)
    table = pq.read_table(out)
    heights = dict(zip(table["path"].to_pylist(), table["height"].to_pylist(), strict=True))
    assert heights[str(photos / "deep/01.png")] == 31
    facts = facts_of(out)
    assert facts["weights_sha256"] == model.digest()
    assert (facts["pool"], facts["layers"]) == ("attention", ["block_3", "block_4"])
    lost = [json.loads(line) for line in (tmp_path / "f.skipped.jsonl").read_text().splitlines()]
    assert {Path(entry["path"]).name: entry["kind"] for entry in lost} == {
        "bad.jpg": "not an image", "empty.png": "empty",
    }  # fmt: skip
    assert not (tmp_path / ".f.parquet.parts").exists()


@pytest.mark.parametrize("pool", ["auto", "mean"])
def test_every_pool_and_every_format(pool: str, photos: Path, weights: Path, tmp_path: Path) -> None:
    model = nextpatch.load(weights)
    embed(config(photos, weights, tmp_path / "p.npy", pool="patches"))
    embed(config(photos, weights, tmp_path / "m.parquet", pool="mean"))
    embed(config(photos, weights, tmp_path / "l.safetensors", layers="1,7", each_layer=True, pool=pool))
    patches, rows = np.load(tmp_path / "p.npy"), pq.read_table(tmp_path / "p.rows.parquet")
    assert (patches.shape, patches.dtype) == ((COUNT, 4, 32), np.float16)
    mean = vectors(tmp_path / "m.parquet")
    path = rows["path"].to_pylist()[7]
    np.testing.assert_allclose(patches[7].astype(float).mean(axis=0), mean[path], rtol=5e-3, atol=5e-3)
    layers = load_file(tmp_path / "l.safetensors")
    assert set(layers) == {"block_1", "block_7"}
    with torch.no_grad():
        wanted = model.features(model.inputs(view(path)), ["block_7"])["block_7"]
        wanted = wanted.mean(dim=1)[0] if pool == "mean" else model.regions(wanted)[0]
    at = pq.read_table(tmp_path / "l.rows.parquet")["path"].to_pylist().index(path)
    np.testing.assert_allclose(layers["block_7"][at].astype(float), wanted.numpy(), rtol=2e-3, atol=2e-3)
    with pytest.raises(ValueError, match="nothing says what to attend to"):
        embed(config(photos, weights, tmp_path / "x.npy", layers="1", pool="attention"))


def by_two(photos: str, weights: str, out: str) -> list[Any]:
    """What each of two ranks did of the work, and what came out on rank 0."""
    made, real = [], Embedder.work
    Embedder.work = lambda *args: (made.append(args[2]), real(*args))[1]  # type: ignore[method-assign]
    with Ranks.opened() as world:
        done = embed(config(Path(photos), Path(weights), Path(out)), Console(quiet=True), world)
    return [made, done.images, done.skipped]


@pytest.mark.slow
def test_two_ranks_share_the_shards_and_leave_the_same_file(photos: Path, weights: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "two.parquet"
    done = embed(config(photos, weights, whole))
    first, second = run_ranks(by_two, 2, str(photos), str(weights), str(out))
    assert (first[0], second[0]) == ([0, 2, 4], [1, 3])
    assert first[1:] == [done.images, done.skipped]
    assert pq.read_table(out).equals(pq.read_table(whole))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(("rank", "own"), [(0, [0, 2, 4]), (1, [1, 3])])
def test_a_rank_takes_its_turns(
    photos: Path, weights: Path, tmp_path: Path, rank: int, own: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(Embedder, "work", lambda *args: made.append(args[2]))
    cfg, advanced = config(photos, weights, tmp_path / "f.npy"), list[int]()
    runs._work(cfg, Embedder(cfg), open_source(str(photos)), [0, 1, 2, 3, 4], {}, advanced.append, Ranks(rank, 2))
    assert made == own
    assert len(advanced) == 3
    assert sum(advanced) == COUNT + 2  # two of which are no images


def test_what_a_kill_at_the_start_leaves_is_begun_anew(photos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"
    out.mkdir()
    (out / ".plan.json.unfinished").write_text('{"weigh')
    assert embed(config(photos, weights, out)).images


def test_stopped_work_goes_on_and_no_image_comes_twice(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "f.parquet"
    embed(config(photos, weights, whole))
    real, made = Embedder.work, []

    def failing(self: Embedder, source: Any, number: int, *rest: Any) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        real(self, source, number, *rest)
        made.append(number)

    monkeypatch.setattr(Embedder, "work", failing)
    with pytest.raises(KeyboardInterrupt):
        embed(config(photos, weights, out))
    assert made == [0, 1]
    with pytest.raises(ConfigError, match="started with other pool"):
        embed(config(photos, weights, out, pool="mean"))
    made.clear()
    monkeypatch.setattr(Embedder, "work", lambda *args: (made.append(args[2]), real(*args))[1])
    embed(config(photos, weights, out))
    assert made == [2, 3, 4]
    assert pq.read_table(out).equals(pq.read_table(whole))
    with pytest.raises(ConfigError, match="exists; remove it"):
        embed(config(photos, weights, out))


def test_stopped_amid_the_work_it_goes_on_and_gives_the_same(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "f.parquet"
    embed(config(photos, weights, whole, shard_images=2))
    work, made = Embedder.work, list[int]()

    def stopped(self: Embedder, source: Source, number: int, *rest: Any) -> None:
        if number == 3 and len(made) == 3:
            raise KeyboardInterrupt
        made.append(number)
        work(self, source, number, *rest)

    monkeypatch.setattr(Embedder, "work", stopped)
    with pytest.raises(KeyboardInterrupt):
        embed(config(photos, weights, out, shard_images=2))
    assert not out.exists()
    made.append(-1)
    embed(config(photos, weights, out, shard_images=2))
    assert made[:4] == [0, 1, 2, -1]
    assert 0 not in made[4:]
    assert pq.read_table(out).equals(pq.read_table(whole))


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_only_time(photos: Path, weights: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "f.parquet"
    embed(config(photos, weights, whole, shard_images=2))
    words = [sys.executable, "-m", "nextpatch", "embed", str(photos), "--weights", str(weights), "--out", str(out),
             "--shard-images", "2", "--precision", "fp32", "--device", "cpu"]  # fmt: skip
    for pause in (0.05, 0.15):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        parts = tmp_path / ".f.parquet.parts"
        while process.poll() is None and not list(parts.glob("part-*")):
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(words, stdout=subprocess.DEVNULL, env=os.environ).returncode in (0, 2)  # 2: it was done
    assert pq.read_table(out)["path"].equals(pq.read_table(whole)["path"])
    assert pq.read_table(out)["features"].equals(pq.read_table(whole)["features"])


def test_a_folder_keeps_its_shards(photos: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"
    embed(config(photos, weights, out))
    assert len(list(out.glob("part-*.parquet"))) == 5
    assert len((out / "skipped.jsonl").read_text().splitlines()) == 2
    done = embed(config(photos, weights, out))  # all is there: nothing to do
    assert done.images == COUNT
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        embed(config(photos, weights, tmp_path / "other"))


def test_bfloat16_is_close(photos: Path, weights: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        embed(config(photos, weights, tmp_path / f"{precision}.npy", precision=precision, pool="mean"))
    exact, fast = (np.load(tmp_path / f"{name}.npy").astype(float) for name in ("fp32", "bf16"))
    assert np.linalg.norm(fast - exact) / np.linalg.norm(exact) < 1e-2
    cosine = (fast * exact).sum(1) / np.linalg.norm(fast, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() > 0.999


def test_no_usable_image_is_an_error(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no image of .*none can be used"):
        embed(config(tmp_path / "none", weights, tmp_path / "f.parquet"))


@pytest.mark.slow
def test_ray_gives_the_same(photos: Path, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    embed(config(photos, weights, tmp_path / "one.parquet"))
    script = (
        "import sys; from pathlib import Path; from nextpatch.tasks.embed.config import EmbedConfig\n"
        "from nextpatch.tasks.embed.run import embed\n"
        "embed(EmbedConfig(sys.argv[1], sys.argv[2], Path(sys.argv[3]), device='cpu', precision='fp32', batch_size=4,"
        " shard_images=6, ray=True))"
    )
    words = [sys.executable, "-c", script, str(photos), str(weights), str(tmp_path / "ray.parquet")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    one, ray = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("one", "ray"))
    assert one.equals(ray)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("weights", "torchhub:./evil:entry", "names the weights 'torchhub:"),
        ("weights", "timm:local-dir:./evil", "names the weights 'timm:"),
        ("weights", "http://127.0.0.1:1/x.safetensors", "names the weights 'http:"),
        ("data", "http://127.0.0.1:1/photos", "fetched only if it is given"),
        ("data", "torchvision:MNIST", "fetched only if it is given"),
    ],
)
def test_an_index_chooses_no_program_and_no_server(
    key: str, value: str, told: str, photos: Path, weights: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    index = tmp_path / "f.parquet"
    assert main(["embed", str(photos), "--weights", str(weights), "--out", str(index), "--device", "cpu"]) == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "hubconf.py").write_text("open('ran', 'w')\ndef entry(): ...\n")
    table = pq.read_table(index)
    facts = {**json.loads(table.schema.metadata[b"nextpatch"]), key: value}
    paths = table.column("path").to_pylist()
    table = table.set_column(0, "path", [[f"elsewhere/{path}" for path in paths]])
    pq.write_table(table.replace_schema_metadata({b"nextpatch": json.dumps(facts)}), index)
    code = main(["similar", str(photos / "00.png"), "--index", str(index), "--device", "cpu"])
    assert code == (2 if key == "weights" else 0)
    assert told in capsys.readouterr().err + caplog.text
    assert not (tmp_path / "ran").exists()


def test_similar_finds_the_image_itself(
    photos: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, picture = tmp_path / "f.parquet", tmp_path / "similar.png"
    words = ["embed", str(photos), "--weights", str(weights), "--out", str(index), "--device", "cpu"]
    assert main(words) == 0
    assert f"features of {COUNT} images, 2 skipped" in capsys.readouterr().out
    query = photos / "deep" / "05.png"
    assert main(["similar", str(query), "--index", str(index), "--out", str(picture), "--device", "cpu"]) == 0
    first = capsys.readouterr().out.splitlines()[0].split()
    assert first[1] == str(query)
    assert float(first[0]) > 0.99
    assert picture.stat().st_size > 1000
    monkeypatch.chdir(photos)
    assert main(["similar", str(query), "--index", str(index), "--device", "cpu"]) == 0
    assert (tmp_path / "photos-similar.png").exists()
    assert main(["embed", ".", "--weights", str(weights), "--out", "f.npy", "--device", "cpu"]) == 2
    assert "choose another --out" in capsys.readouterr().err
    weights.rename(tmp_path / "moved")
    assert main(["similar", str(query), "--index", str(index), "--out", str(picture)]) == 2
    assert main(["similar", str(query), "--index", str(index), "--out", str(picture), "--weights",
                 str(tmp_path / "moved"), "--device", "cpu"]) == 0  # fmt: skip


def test_other_channels_are_told_in_one_line(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    bands = tmp_path / "bands"
    bands.mkdir()
    for number in range(20):
        np.save(bands / f"{number}.npy", np.zeros((40, 40, 5), np.uint8))
    for words in (["embed", "--out", str(tmp_path / "f.parquet")], ["classify"]):
        assert main([words[0], str(bands), *words[1:], "--weights", str(weights), "--device", "cpu"]) == 2
        assert "has 5 channels, the model takes 3" in capsys.readouterr().err
    assert not caplog.text
    assert not (tmp_path / "f.parquet").exists()


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_names_of_any_bytes_go_through(
    ending: str, photos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not UTF-8, and with newlines and escapes: kept where they are data, shown as escapes where they are read."""
    odd = photos / "caf\udce9\n\x1b[31m"
    (photos / "deep").rename(odd)
    (odd / "bad\udce9.png").write_bytes(b"")
    out = tmp_path / f"f{ending}"
    given = ["--weights", str(weights), "--device", "cpu"]
    assert main(["embed", str(photos), *given, "--out", str(out)]) == 0
    lost = [json.loads(line)["path"] for line in (tmp_path / "f.skipped.jsonl").read_text().splitlines()]
    assert str(odd / "bad\udce9.png").replace("\udce9", "\\xe9") in lost
    table = out if ending == ".parquet" else tmp_path / "f.rows.parquet"
    assert sum("caf\\xe9\n" in path for path in pq.read_table(table)["path"].to_pylist()) == COUNT // 2
    if ending == ".parquet":
        words = ["similar", str(odd / "01.png"), "--index", str(out), "--out", str(tmp_path / "s.png")]
    else:
        words = ["classify", str(odd), "--weights", str(weights), "--json"]
    assert main([*words, "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    if ending == ".npy":
        assert json.loads(told.splitlines()[1])["image"] == str(odd / "01.png")


def test_an_index_of_another_size_is_searched_at_that_size(photos: Path, weights: Path, tmp_path: Path) -> None:
    """And the same flag makes the other verbs see images so; what is no multiple of the patch is refused."""
    index, seen = tmp_path / "larger.parquet", ["--weights", str(weights), "--img-size", "42", "28", "--device", "cpu"]
    assert main(["embed", str(photos), "--out", str(index), *seen, "--pixel-range", "0", "4095"]) == 0
    facts = facts_of(index)
    assert (facts["img_size"], facts["preprocessing"]["pixel_range"]) == ([42, 28], [0, 4095])
    model = nextpatch.load(weights, img_size=(42, 28))
    wanted = model.embed(photos / "00.png")[0]
    rows = pq.read_table(index).to_pylist()
    own = next(row["features"] for row in rows if row["path"].endswith("00.png"))
    assert torch.nn.functional.cosine_similarity(torch.tensor(own).float(), wanted, dim=0) > 0.999
    nearest = tmp_path / "near.png"
    words = ["similar", str(photos / "00.png"), "--index", str(index), "--out", str(nearest), "--device", "cpu"]
    assert main(words) == 0
    assert main(["classify", str(photos / "00.png"), *seen]) == 0
    assert (
        main(["export", str(weights), "--to", "released", "--img-size", "42", "28", "--out", str(tmp_path / "r")]) == 0
    )
    assert nextpatch.load(tmp_path / "r").about.img_size == (42, 28)
    assert main(["embed", str(photos), "--out", str(tmp_path / "x.parquet"), *seen[:2], "--img-size", "30", "28"]) == 2


@pytest.mark.parametrize("name", ["f.npy", "f.rows.parquet", "f.skipped.jsonl"])
def test_nothing_of_somebodys_beside_the_output_is_replaced(
    photos: Path, weights: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ValueError, match=f"{name} .*(is not replaced|exists); remove it"):
        embed(config(photos, weights, tmp_path / "f.npy"))
    assert not list(tmp_path.glob(".*"))
    assert [path.read_bytes() for path in tmp_path.glob("f.*")] == [b"mine"]


def test_a_list_of_skipped_images_is_of_the_last_work(photos: Path, weights: Path, tmp_path: Path) -> None:
    for place, listed in ((photos, True), (photos / "deep", False)):
        embed(config(place, weights, tmp_path / "f.npy"))
        assert (tmp_path / "f.skipped.jsonl").exists() == listed
        (tmp_path / "f.npy").unlink()
