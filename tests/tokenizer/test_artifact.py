"""A tokenizer's file: what is written is read, and nothing that is not one is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nextpatch.core.tensors import save_safetensors
from nextpatch.tokenizer.artifact import KEY, Artifact, read_artifact, write_artifact
from nextpatch.tokenizer.error import TokenizerError
from nextpatch.tokenizer.tokenizer import open_tokenizer
from tokenizers_made import FACTS, artifact


def test_what_is_written_is_read_and_its_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path, made = tmp_path / "tokenizer.safetensors", artifact()
    write_artifact(path, made)
    found = read_artifact(path)
    assert found.facts == FACTS
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in made.tensors.items())
    readable = json.loads(path.with_suffix(".json").read_text())
    assert found.digest == made.digest == readable["tokenizer_sha256"]
    assert made.digest in path.read_bytes().decode("latin-1")
    assert {one.name for one in tmp_path.iterdir()} == {"tokenizer.safetensors", "tokenizer.json"}
    opened = open_tokenizer(tmp_path)
    assert (opened.kind, opened.codes, opened.digest) == ("kmeans", 5, made.digest)
    assert artifact(replace(FACTS, fitted={})).digest != made.digest
    assert artifact(centers=made.tensors["centers"] + 1).digest != made.digest


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (artifact(centers=torch.full((5, 12), torch.nan)), "'centers' holds numbers that are not finite"),
        (artifact(centers=torch.zeros(5, 11)), r"'centers' is \[5, 11\]"),
        (artifact(centers=torch.zeros(5, 12, dtype=torch.int64)), "of torch.int64"),
        (artifact(frequencies=torch.full((5,), 0.3)), "add up to 1"),
        (artifact(frequencies=torch.tensor([1.5, -0.5, 0, 0, 0])), "add up to 1"),
        (artifact(replace(FACTS, options={})), "its option 'norm' is not bool"),
        (artifact(replace(FACTS, options={"norm": 1})), "its option 'norm' is not bool"),
        (Artifact(FACTS, {"frequencies": torch.full((5,), 0.2)}), "no tensor 'centers'"),
    ],
)
def test_an_artifact_of_wrong_tensors_names_its_file_and_what_is_wrong(
    made: Artifact, reason: str, tmp_path: Path
) -> None:
    write_artifact(tmp_path / "a.safetensors", made)
    with pytest.raises(TokenizerError, match=reason) as error:
        open_tokenizer(tmp_path / "a.safetensors")
    assert "a.safetensors cannot be used as a tokenizer" in str(error.value)


@pytest.mark.parametrize(
    "facts",
    [
        "{", "[]", "3", "null", '"x"', "{}", '{"kind": "kmeans"}', "[" * 100_000,
        json.dumps({**FACTS.__dict__, "codes": 10**12}),
        json.dumps({**FACTS.__dict__, "codes": "5"}),
        json.dumps({**FACTS.__dict__, "mean": [0.5]}),
        json.dumps({**FACTS.__dict__, "std": [0.2, float("nan"), 0.2]}),
        json.dumps({**FACTS.__dict__, "kind": "os:system"}),
        json.dumps({**FACTS.__dict__, "options": 3}),
    ],
)  # fmt: skip
def test_facts_of_any_other_form_are_one_error(facts: str, tmp_path: Path) -> None:
    save_safetensors(tmp_path / "a.safetensors", artifact().tensors, {KEY: facts})
    with pytest.raises(TokenizerError, match="cannot be read as a tokenizer"):
        open_tokenizer(tmp_path / "a.safetensors")


def test_a_file_that_is_none_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(TokenizerError, match="does not exist; fit one"):
        open_tokenizer(path)
    with pytest.raises(TokenizerError, match="does not exist; fit one"):
        open_tokenizer(tmp_path)
    save_file({"centers": torch.zeros(5, 12)}, path)  # of another program
    with pytest.raises(TokenizerError, match="is not a tokenizer"):
        open_tokenizer(path)
    write_artifact(path, artifact())
    whole = path.read_bytes()
    for damaged in [whole[:at] for at in range(0, len(whole), 97)] + [b"x" * 1000]:
        path.write_bytes(damaged)
        with pytest.raises(TokenizerError):
            open_tokenizer(path)
    for at in range(0, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(TokenizerError):
            open_tokenizer(path)
