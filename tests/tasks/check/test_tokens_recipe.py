"""A recipe that names a tokenizer and nothing else of it can be examined, and planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextpatch.model.config import ModelConfig
from nextpatch.model.heads.mlp import MLPHead
from nextpatch.runs.given import read_recipe
from nextpatch.runs.recipe import recipe_from_dict
from nextpatch.tasks.check.verdict import model_to_check
from nextpatch.tasks.plan.budget import budget
from nextpatch.tasks.plan.config import PlanConfig
from nextpatch.tasks.plan.gpus import GPUS
from nextpatch.tokenizer.artifact import write_artifact
from tokenizers_made import kmeans

TEXT = (
    '[model]\nsize = "nano"\ntarget = "tokens"\ntokenizer = "codes.safetensors"\nimg_size = [28, 42]\npatch_size = 7\n'
)


def test_codes_and_digest_are_those_of_the_tokenizer_beside_the_recipe(tmp_path: Path) -> None:
    made = kmeans(ModelConfig(img_size=(28, 42), patch_size=7), codes=9)
    write_artifact(tmp_path / "codes.safetensors", made)
    (tmp_path / "mine.toml").write_text(TEXT)
    cfg = model_to_check(tmp_path / "mine.toml")[0].cfg
    assert (cfg.codes, cfg.tokenizer_sha256, cfg.tokenizer) == (9, made.digest, str(tmp_path / "codes.safetensors"))
    model = recipe_from_dict(read_recipe(str(tmp_path / "mine.toml"))).model
    plan = budget(PlanConfig(model, GPUS["h100"], gpus=1, global_batch_size=8, steps=10))
    assert plan.params["head"] == MLPHead.params(replace(model, codes=9))
