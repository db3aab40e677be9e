"""Plans: the paper's run, what follows from what, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nextpatch.cli import main
from nextpatch.config import ConfigError
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params
from nextpatch.model.init import init_weights
from nextpatch.objective.cost import target_flops, train_step_flops
from nextpatch.objective.registry import objective_of
from nextpatch.tasks.plan.budget import GIB, budget
from nextpatch.tasks.plan.config import PlanConfig
from nextpatch.tasks.plan.gpus import GPUS
from tokenizers_made import of_tokens

PAPER = PlanConfig(ModelConfig(size="7b"), GPUS["h200"], gpus=256)


def test_the_papers_budget():
    """1.25 M iterations of 4,096 images: Table 10; its text rounds to 1.2 M and 5 billion images (section 5.1)."""
    found = budget(PAPER)
    assert found.images == 1_250_000 * 4096 == 5_120_000_000
    assert found.run_flops == pytest.approx(found.images * train_step_flops(PAPER.model))
    assert found.params["trunk"] == pytest.approx(6.5e9, rel=0.02)  # Table 1


def test_days_and_hours_follow_from_the_speed():
    found = budget(PAPER)
    assert found.images_per_s == pytest.approx(4096 / found.choice.step_s)
    assert found.days * 86400 == pytest.approx(found.images / found.images_per_s)
    assert found.gpu_hours == pytest.approx(found.days * 24 * 256)
    ideal = 256 * 989e12 * 0.4 / train_step_flops(PAPER.model)
    assert found.images_per_s <= 1.0001 * ideal
    assert budget(replace(PAPER, mfu=0.2)).days >= 1.9 * found.days


@pytest.mark.parametrize("size", ["600m", "1b", "3b", "7b"])
@pytest.mark.parametrize("name", GPUS)
def test_what_is_chosen_fits_and_is_the_quickest(size, name):
    cfg = PlanConfig(ModelConfig(size=size), GPUS[name], gpus=64)
    found = budget(cfg)
    fitting = [option for option in found.options if option.micro_batch_size]
    assert (found.choice is None) == (not fitting)
    if found.choice:
        assert found.choice.memory.total <= cfg.usable * cfg.gpu.memory_gib * GIB
        assert found.choice.step_s == min(option.step_s for option in fitting)
        assert found.choice.replicate * found.choice.shard == 64


def test_communication_is_none_on_one_gpu_and_grows_with_the_copies():
    alone = budget(PlanConfig(ModelConfig(size="base"), GPUS["h100"], gpus=1, gpus_per_node=1)).choice
    assert alone.communication_s == 0
    copies = budget(PlanConfig(ModelConfig(size="base"), GPUS["h100"], gpus=8)).options[0]
    params = budget(PAPER).params
    assert copies.gathered_bytes == copies.scattered_bytes == 0
    assert copies.reduced_bytes > 0
    everywhere = budget(PAPER).options[-1]
    assert everywhere.reduced_bytes == 0
    assert everywhere.gathered_bytes == pytest.approx(4 * params["total"] * 255 / 256)


@pytest.mark.parametrize("kind", ["kmeans", "dvae"])
@pytest.mark.parametrize("objective", ["next_patch", "masked"])
def test_the_codes_of_images_are_counted_as_computed_and_take_their_time(kind, objective, tmp_path, monkeypatch):
    cfg = of_tokens({"size": "nano", "img_size": (12, 18), "patch_size": 3, "in_chans": 2, "objective": objective},
                    tmp_path, monkeypatch, kind=kind)  # fmt: skip
    task, images = objective_of(cfg), torch.randn(4, 2, 12, 18)
    draws = task.showcase(4)
    scored = int(task.scored(draws).sum()) / 4
    model = AIM(cfg)
    init_weights(model, 0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        task.loss_sum(model, images, draws).backward()
    assert counter.get_total_flops() == pytest.approx(4 * (train_step_flops(cfg, scored) + target_flops(cfg, scored)))
    asked = PlanConfig(cfg, replace(GPUS["h100"], tflops=67.0), gpus=1, gpus_per_node=1, global_batch_size=8)
    plain = replace(cfg, target="pixels", tokenizer="", codes=0, tokenizer_sha256="")
    found = budget(asked)
    whole = found.flops_per_image + found.target_flops_per_image
    assert found.target_flops_per_image == target_flops(cfg) > 0 == target_flops(plain)
    assert found.run_flops == pytest.approx(found.images * whole)
    assert found.options[0].compute_s == pytest.approx(8 * whole / (67e12 * 0.4))


def test_a_plan_says_variant_and_codes(capsys, tmp_path, monkeypatch):
    cfg = of_tokens({"img_size": (32, 32), "patch_size": 4}, tmp_path, monkeypatch, codes=64)
    words = ["--img-size", "32", "--patch-size", "4", "--gpus", "1", "--model.objective", "masked",
             "--model.target", "tokens"]  # fmt: skip
    assert main(["plan", *words, "--model.tokenizer", cfg.tokenizer]) == 0
    text = capsys.readouterr().out
    assert "masked (32 of 64 patches), bidirectional attention, target tokens (64 codes), head mlp" in text
    assert "codes      0.197 MFLOP an image in float32, less than 1% of the time" in text
    assert main(["plan", *words, "--model.codes", "64"]) == 0
    assert "codes      not counted: the tokenizer is not given" in capsys.readouterr().out
    assert main(["plan", *words[:6]]) == 0
    assert "codes" not in capsys.readouterr().out


def test_senseless_questions_are_refused():
    for wrong in ({"gpus": 0}, {"mfu": 0.0}, {"mfu": 1.5}, {"gpus": 3}):
        with pytest.raises(ConfigError):
            replace(PAPER, **wrong)


def test_a_plan_of_a_model_that_generates_says_what_sampling_takes(capsys):
    words = ["plan", "--model", "base", "--gpus", "1", "--steps", "1", "--batch", "8"]
    assert main([*words, "--model.head", "flow"]) == 0
    # 2 x 12 blocks x 16 images x 256 patches x 768 wide x 4 bytes
    assert "sampling   0.28 GiB of keys and values for 16 images at a time" in capsys.readouterr().out
    assert main(words) == 0
    assert "sampling" not in capsys.readouterr().out


def test_an_unknown_gpu_is_told_with_the_nearest(capsys):
    assert main(["plan", "--gpu", "h20"]) == 2
    assert "unknown gpu 'h20' (did you mean 'h200'?); choose one of" in capsys.readouterr().err


def test_the_verb_prints_tables_and_json(capsys):
    assert main(["plan", "--model", "7b", "--gpus", "256", "--gpu", "h200"]) == 0
    text = capsys.readouterr().out
    assert "5.12 billion images" in text
    assert "<- best" in text
    assert max(map(len, text.splitlines()[:-1])) <= 120
    assert main(["plan", "aim-1b", "--gpus", "8", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["choice"]["replicate"] * values["choice"]["shard"] == 8
    assert values["params"]["total"] == sum(n for name, n in values["params"].items() if name != "total")


def test_what_does_not_fit_is_said_with_the_remedy(capsys):
    assert main(["plan", "--model", "7b", "--gpus", "1", "--gpu", "rtx4090"]) == 1
    assert "use more GPUs to shard over, or GPUs with more memory" in capsys.readouterr().out
    assert main(["plan", "--gpu", "h999"]) == 2
    assert "choose one of b200" in capsys.readouterr().err


def test_every_value_of_a_model_is_a_flag_and_a_size_outdoes_the_recipes(capsys):
    def params(*words):
        assert main(["plan", *words, "--gpus", "1", "--batch", "8", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["params"]

    cut = ModelConfig(size="small", depth=4, img_size=(112, 112))
    assert params("--model", "small", "--model.depth", "4", "--img-size", "112")["total"] == count_params(cut).total
    assert params("--model.size", "base") == params("--model", "base") == params("aim-7b", "--model", "base")


def test_the_table_needs_no_more_than_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    main(["plan", "--model", "7b", "--gpus", "1024"])
    text = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "checkpointing   images" in text
