"""Features of causal attention: of the order of the model, told wherever they are kept, and never mixed with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import safe_open

import nextpatch
from labeled import write_labeled
from nextpatch.bench.config import BenchConfig
from nextpatch.bench.recipe import recipe_of
from nextpatch.bench.registry import BENCHMARKS
from nextpatch.cli import main
from nextpatch.config import ConfigError
from nextpatch.core.errors import UserError
from nextpatch.core.files import write_json
from nextpatch.core.tensors import save_safetensors
from nextpatch.data.config import DataConfig
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.runs.checkpoint import save_checkpoint
from nextpatch.runs.config import TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.runs.run import RunDir
from nextpatch.tasks.embed.columns import facts_of
from nextpatch.tasks.embed.config import EmbedConfig
from nextpatch.tasks.embed.run import embed
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.run import probe
from nextpatch.tasks.publish.graph import Graph, to_onnx, to_torch_export
from nextpatch.tasks.publish.timm import to_timm
from nextpatch.tasks.report.features import attention_maps
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.error import WeightsError
from nextpatch.weights.foreign import backbone_of
from nextpatch.weights.snapshot import save_snapshot
from nextpatch.weights.tensors import read_tensors

CFG = ModelConfig("nano", (8, 12), 4, 1, embed_dim=16, depth=3, num_heads=2, head_width=16, head_depth=1,
                  order="spiral", attention="causal")  # fmt: skip
LAYERS = ("block_1",)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A spiral run of one checkpoint, with labeled images beside it."""
    write_labeled(tmp_path / "train", 12, 0)
    recipe = Recipe(CFG, DataConfig(train=(str(tmp_path / "train"),), val_images=8, workers=0),
                    train=TrainConfig(precision="fp32", device="cpu"))  # fmt: skip
    made, model = RunDir.create(tmp_path / "run", recipe), AIM(CFG)
    init_weights(model, 0)
    save_checkpoint(made.checkpoints, 5, {"model": model.state_dict()}, {"step": 5})
    return made.path


@pytest.fixture
def probed(run: Path) -> Path:
    """The same, its probe fitted to causal features."""
    probe(config(run, attention="causal"), Console(quiet=True))
    return run


def config(run: Path, **values: Any) -> ProbeConfig:
    given = {"layers": ("1",), "lrs": (1e-2,), "epochs": 2, "probes": ("attentive",), "device": "cpu", **values}
    return ProbeConfig(run, str(run.parent / "train"), **given)


def pixels(batch: int = 3) -> torch.Tensor:
    return torch.rand(batch, 1, 8, 12, generator=torch.Generator().manual_seed(0))


def test_a_model_is_read_as_asked_and_bidirectionally_by_default(run: Path) -> None:
    usual, causal = nextpatch.load(run), nextpatch.load(run, attention="causal")
    assert (usual.about.attention, causal.about.attention) == ("bidirectional", "causal")
    inputs = usual.inputs(pixels())
    for model in (usual, causal):
        wanted = model.aim.features(inputs, LAYERS, model.about.attention)["block_1"]
        assert torch.equal(model.features(inputs, LAYERS)["block_1"], wanted)
    assert not torch.allclose(usual.embed(pixels()), causal.embed(pixels()))


def test_a_probe_is_loaded_with_the_attention_that_it_was_fitted_to(probed: Path, tmp_path: Path) -> None:
    said = json.loads((probed / "probe.json").read_text())
    assert said["feature_attention"] == "causal"
    model = nextpatch.load(probed)
    assert (model.about.attention, model.classifier is None) == ("causal", False)
    other = nextpatch.load(probed, attention="bidirectional")
    assert (other.about.attention, other.classifier, other.about.layers) == (
        "bidirectional", None, ("block_0", "block_1", "block_2"),
    )  # fmt: skip
    assert nextpatch.load(probed, layers="0").about.attention == "bidirectional"
    assert nextpatch.load(f"{probed}+{probed}/probe.safetensors").about.attention == "causal"
    with pytest.raises(WeightsError, match="fitted to features of causal attention; leave the attention out"):
        nextpatch.load(f"{probed}+{probed}/probe.safetensors", attention="bidirectional")
    with pytest.raises(WeightsError, match="no classifier for these layers and bidirectional attention"):
        nextpatch.classify(other, pixels()[0, 0].numpy(), quiet=True)
    probe(config(probed), Console(quiet=True))
    assert nextpatch.load(probed).about.attention == "bidirectional"
    with pytest.raises(WeightsError, match="which layers are best with causal attention is not known yet"):
        nextpatch.load(probed, attention="causal", layers="best")


def test_the_saved_classifier_gives_the_measured_accuracy(run: Path, tmp_path: Path) -> None:
    test, found = write_labeled(tmp_path / "test", 8, 1), {}
    for attention in ("bidirectional", "causal"):
        probe(config(run, attention=attention, test=str(test), epochs=4), Console(quiet=True))
        [row] = [row for row in json.loads((run / "probe.json").read_text())["results"] if row["features"][0] == "p"]
        answers = nextpatch.classify(run, str(test), top=3, quiet=True)
        right = [one.top[0].name == Path(one.image).parent.name for one in answers]
        assert 100 * sum(right) / len(right) == pytest.approx(row["test_top1"], abs=1e-3)
        found[attention] = [guess.probability for one in answers for guess in one.top]
    assert found["causal"] != found["bidirectional"]


def test_a_published_classifier_keeps_its_heads(run: Path, tmp_path: Path) -> None:
    probe(config(run, heads=8, epochs=4), Console(quiet=True))
    one, images = nextpatch.load(run), pixels()
    assert one.classifier is not None
    assert one.classifier.num_heads == 8 != one.about.num_heads
    save_snapshot(one, tmp_path / "published")
    again = nextpatch.load(tmp_path / "published")
    (tmp_path / "published" / "config.json").read_text().index('"probe_heads": 8')
    with torch.no_grad():
        assert torch.equal(again(again.inputs(again.transform(images))), one(one.inputs(one.transform(images))))


def test_kept_features_of_one_attention_are_not_taken_for_those_of_the_other(run: Path, tmp_path: Path) -> None:
    def measured(**values: Any) -> dict[str, Any]:
        asked = config(run, cache=tmp_path / "cache", out=tmp_path / "out", probes=("knn",), lrs=(), epochs=0, **values)
        return {**probe(asked, Console(quiet=True)).to_dict(), "elapsed_s": 0}

    usual = measured()
    assert len(list((tmp_path / "cache").glob("*.f32"))) == 2  # of the weights, and of the untrained network
    causal = measured(attention="causal")
    assert len(list((tmp_path / "cache").glob("*.f32"))) == 4
    assert measured(attention="bidirectional") == usual
    assert measured(attention="causal") == causal
    assert len(list((tmp_path / "cache").glob("*.f32"))) == 4


def test_features_in_a_file_say_their_attention_and_are_searched_with_it(probed: Path, tmp_path: Path) -> None:
    def begun(**values: Any) -> Path:
        given = {"out": tmp_path / "f", "shard_images": 12, "device": "cpu", **values}
        embed(EmbedConfig(data=str(tmp_path / "train"), weights=str(probed), **given), Console(quiet=True))
        return given["out"]

    folder = begun()
    assert facts_of(folder / "part-000000.parquet")["attention"] == "causal"
    with pytest.raises(ConfigError, match="started with other attention"):
        begun(attention="bidirectional", layers="1")
    wanted = np.random.default_rng(0)
    for attention in ("causal", "bidirectional"):
        out = begun(out=tmp_path / f"{attention}.parquet", attention=attention)
        name = sorted((tmp_path / "train" / "dog").iterdir())[wanted.integers(12)]
        found = nextpatch.similar(out, name, k=1, quiet=True)
        assert (found.names[0], round(found.similarities[0], 3)) == (str(name), 1.0)


def test_features_begun_before_there_was_a_choice_are_bidirectional(run: Path, tmp_path: Path) -> None:
    def begun(attention: Any = None) -> None:
        embed(EmbedConfig(data=str(tmp_path / "train"), weights=str(run), out=tmp_path / "f", device="cpu",
                          attention=attention), Console(quiet=True))  # fmt: skip

    begun()
    plan = tmp_path / "f" / "plan.json"
    facts = json.loads(plan.read_text())
    assert (facts.pop("attention"), len(facts.pop("sha256"))) == ("bidirectional", 64)
    write_json(plan, facts)
    begun()
    with pytest.raises(ConfigError, match="started with other attention"):
        begun("causal")


def test_a_benchmark_is_of_one_attention(run: Path) -> None:
    pets = next(benchmark for benchmark in BENCHMARKS if benchmark.name == "pets")
    asked = BenchConfig(str(run), run.parent / "bench")
    recipes = [recipe_of(asked, pets, nextpatch.load(run, attention=a).about, "") for a in ("bidirectional", "causal")]
    assert {key for key in recipes[0] if recipes[0][key] != recipes[1][key]} == {"attention"}


def test_a_model_that_is_loaded_is_measured_as_it_is(run: Path, tmp_path: Path) -> None:
    data, given = str(run.parent / "train"), {"probes": ["knn"], "out": tmp_path / "out", "quiet": True}
    found = nextpatch.probe(nextpatch.load(run, attention="causal"), data, **given)
    assert found.feature_attention == "causal"
    assert "causal attention" in str(found)
    assert "with causal attention" in (tmp_path / "out" / "probe.html").read_text()
    with pytest.raises(UserError, match="attention causal: the model is loaded already, with bidirectional attention"):
        nextpatch.probe(nextpatch.load(run), data, attention="causal", **given)


def test_models_of_other_libraries_have_no_causal_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match="timm:vit_tiny_patch16_224 is of another library"):
        nextpatch.load("timm:vit_tiny_patch16_224", attention="causal")
    write_labeled(tmp_path / "train", 4, 0)
    words = ["hf:a/b", "--data", str(tmp_path / "train"), "--out", str(tmp_path / "out"), "--attention", "causal"]
    assert main(["probe", *words]) == 2
    assert "whose attention sees all patches" in capsys.readouterr().err
    other = backbone_of(torch.nn.Linear(1, 4), lambda images: [images.flatten(2).transpose(1, 2)[..., :1]])
    with pytest.raises(WeightsError, match="is of another library"):
        Backbone(other.trunk, type(other.about)(**{**vars(other.about), "attention": "causal"}))


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_a_graph_computes_causal_features_and_other_layouts_refuse_them(probed: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = nextpatch.load(probed)
    with torch.no_grad():
        wanted = model(model.inputs(pixels()))
    assert to_onnx(model, tmp_path / "m.onnx") < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"pixels": pixels().numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["attention"]) == "causal"
    assert to_torch_export(nextpatch.load(probed), tmp_path / "m.pt2") < 1e-4
    again: Any = torch.export.load(tmp_path / "m.pt2").module()
    torch.testing.assert_close(again(pixels()[:2]), Graph(model)(pixels()[:2]), rtol=1e-4, atol=1e-4)
    with pytest.raises(WeightsError, match="timm's model attends to all patches"):
        to_timm(model, tmp_path / "t.safetensors")
    with pytest.raises(WeightsError, match="reads causal features, which the released layout cannot say"):
        save_snapshot(model, tmp_path / "released")
    assert main(["export", str(probed), "--to", "timm", "--out", str(tmp_path / "t.safetensors")]) == 2
    words = ["--attention", "bidirectional", "--out"]
    assert main(["export", str(probed), "--to", "timm", *words, str(tmp_path / "t.safetensors")]) == 0
    assert main(["export", str(probed), "--to", "hub", *words, str(tmp_path / "hub")]) == 0
    assert nextpatch.load(tmp_path / "hub").classifier is None
    words = ["--to", "released", "--layers", "0", "--attention", "causal", "--out", str(tmp_path / "trunk")]
    assert main(["export", str(probed), *words]) == 0
    trunk = nextpatch.load(tmp_path / "trunk")
    assert (trunk.about.attention, trunk.classifier) == ("causal", None)
    assert nextpatch.load(tmp_path / "trunk", attention="bidirectional").about.attention == "bidirectional"


def test_an_exported_model_keeps_its_order(run: Path, tmp_path: Path) -> None:
    wanted = nextpatch.load(run, attention="causal")
    for words in (["safetensors", "m.safetensors"], ["released", "released"], ["hub", "hub"]):
        out = tmp_path / words[1]
        assert main(["export", str(run), "--to", words[0], "--out", str(out)]) == 0
        model = nextpatch.load(out, attention="causal")
        assert (model.aim.cfg.order, model.about.attention) == ("spiral", "causal")
        torch.testing.assert_close(model.embed(pixels()), wanted.embed(pixels()))


def test_the_map_of_where_a_probe_looks_is_of_its_own_features(probed: Path) -> None:
    model = nextpatch.load(probed)
    inputs = model.inputs(pixels())
    maps, _ = attention_maps(model.aim, inputs, probed / "probe.safetensors")
    assert model.classifier is not None
    features = model.read(inputs)
    seen = model.classifier.attention(model.classifier.bn(features.flatten(0, 1)).view_as(features)).mean(dim=1)
    torch.testing.assert_close(maps, seen.view(3, *CFG.grid))


def test_fine_tuning_leaves_a_causal_classifier_behind(probed: Path, tmp_path: Path) -> None:
    data = str(tmp_path / "train")
    found = nextpatch.finetune(probed, data, tmp_path / "adapted", epochs=1, augment=False, device="cpu", quiet=True)
    assert (found.load().about.attention, found.load().about.layers) == (
        "bidirectional", ("block_0", "block_1", "block_2"),
    )  # fmt: skip


def test_an_attention_that_is_none_is_no_probe(probed: Path) -> None:
    path = probed / "probe.safetensors"
    state, facts = read_tensors(path)
    with safe_open(path, "pt") as file:
        assert file.metadata()["attention"] == "causal"
    save_safetensors(path, state, {**facts, "attention": "sideways"})
    with pytest.raises(WeightsError, match="there is no attention 'sideways'"):
        nextpatch.load(probed)
