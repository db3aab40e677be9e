"""Weights as a folder in the released layout: what other AIM code, and the Hub, can take."""

from __future__ import annotations

import json
from pathlib import Path

from nextpatch.config import to_dict
from nextpatch.core.files import write_text
from nextpatch.core.tensors import save_safetensors
from nextpatch.core.text import shown
from nextpatch.model.weights import PREDICTS, to_released
from nextpatch.runs.export import FORMAT
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.classifier import attention_facts, numbered
from nextpatch.weights.error import WeightsError
from nextpatch.weights.load import PIXEL_HEAD_FILE
from nextpatch.weights.pixel_head import save_pixel_head
from nextpatch.weights.tokenizer import copy_tokenizer_of


def save_snapshot(backbone: Backbone, folder: Path) -> None:
    """config.json and model.safetensors with the released names, the classifier among them where there is one.

    config.json has the released keys only, so that the authors' own class takes it; what they have no word for (names
    of classes, mean and std) is in the tensors' metadata. A pixel head, which no released model has, is a file of its
    own, and so is the tokenizer whose codes it predicts. Files are replaced one by one, each in one step. Raises
    WeightsError for a model of another library, and for a classifier of causal features: no key of theirs says so, and
    their class would give it others.
    """
    model, about = backbone.aim, backbone.about
    if backbone.classifier is not None and about.attention != "bidirectional":
        raise WeightsError(
            f"the classifier of {shown(about.name)} reads {about.attention} features, which the released layout cannot "
            "say; export a graph (onnx, torch.export), or without it: --attention bidirectional"
        )
    cfg, classifier = model.cfg, backbone.classifier
    state = {name: t for name, t in model.state_dict().items() if not name.startswith(PREDICTS)}
    if classifier is not None:
        state |= {f"attentive.{name}": tensor for name, tensor in classifier.state_dict().items()}
    probe_heads = cfg.shape.num_heads if classifier is None else classifier.num_heads
    heads = {} if probe_heads == cfg.shape.num_heads else {"probe_heads": probe_heads}  # a key of ours
    facts = {
        "format": FORMAT,
        "layout": "released",
        "model": json.dumps(to_dict(cfg.without_places())),
        "layers": json.dumps(list(about.layers)),
        "classes": json.dumps(list(backbone.classes)),
        "mean": json.dumps(list(about.mean)),
        "std": json.dumps(list(about.std)),
        "preprocessing": json.dumps(to_dict(about.preprocessing)),
        **attention_facts(about.attention),
        **{name: str(count) for name, count in heads.items()},
        **({"labels": json.dumps(list(about.labels))} if about.labels else {}),
    }
    save_safetensors(folder / "model.safetensors", to_released(state, cfg), facts)
    square = cfg.img_size[0] == cfg.img_size[1]
    config = {
        "img_size": cfg.img_size[0] if square else list(cfg.img_size),
        "patch_size": cfg.patch_size,
        "num_channels": cfg.in_chans,
        "embed_dim": cfg.shape.embed_dim,
        "num_blocks": cfg.shape.depth,
        "num_heads": cfg.shape.num_heads,
        **heads,
        "probe_layers": numbered(about.layers),
        "num_classes": 1000 if classifier is None else classifier.linear.out_features,
    }
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")  # no digest: it has the released keys only
    if model.head.predicts:
        save_pixel_head(folder / PIXEL_HEAD_FILE, model)
        copy_tokenizer_of(model.cfg, folder)
