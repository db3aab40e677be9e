"""The places in a recipe's values, written from the root: a run is gone on with from any folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nextpatch.data.collection import absolute
from nextpatch.weights import names


def placed(values: dict[str, Any]) -> dict[str, Any]:
    """The values with every local place written from the root."""
    data, train = dict(values.get("data", {})), dict(values.get("train", {}))
    if data.get("train"):
        data["train"] = [absolute(spec) for spec in data["train"]]
    if data.get("val"):
        data["val"] = absolute(data["val"])
    if train.get("init"):
        train["init"] = names.absolute(train["init"])
    model = values.get("model", {})
    if model.get("tokenizer"):
        model = {**model, "tokenizer": os.path.abspath(Path(model["tokenizer"]).expanduser())}  # noqa: PTH100 - as named
    return {**values, "data": data, "train": train, "model": model}
