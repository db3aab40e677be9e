"""A classifier of one's own as an .onnx file: a graph computes features, and no code of a stranger runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nextpatch.config import ConfigError
from nextpatch.core.text import shown
from nextpatch.weights.error import WeightsError

_FEATURES = ("features", "pooled", "patches")  # names of outputs, the first that is there
_LOGITS = "logits"
_TYPES = {"tensor(float)": torch.float32, "tensor(uint8)": torch.uint8}


class ClassifierGraph:
    """One input, images "batch channels height width" of a fixed size; outputs by name: features and logits.

    Floats are given as pixels in [0, 1], uint8 as they are. `features`, `pooled` or `patches` (their mean is taken), or
    else the only output, is the vector of an image.
    """

    def __init__(self, session: Any, path: Path) -> None:
        self._session, self._path = session, path
        inputs, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or not all(type(side) is int for side in shape[1:]) or inputs[0].type not in _TYPES:
            raise WeightsError(
                f"{shown(path)} must take one batch of images, batch x channels x height x width with fixed channels, "
                f"height and width, as float or uint8; it takes {shown([(one.shape, one.type) for one in inputs])}"
            )
        named = [name for name in _FEATURES if name in outputs] or [name for name in outputs if name != _LOGITS]
        if not named or (named[0] not in _FEATURES and len(named) > 1):
            raise WeightsError(f"{shown(path)} gives {shown(outputs)}; name the one of the features 'features'")
        self._input, self._type = inputs[0].name, _TYPES[inputs[0].type]
        self._outputs = [named[0], *([_LOGITS] if _LOGITS in outputs else [])]
        self.channels, self.size = int(shape[1]), (int(shape[2]), int(shape[3]))
        self.classes = _classes(session.get_modelmeta().custom_metadata_map)
        with path.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()

    def __call__(self, images: UInt8[Tensor, "images channels height width"]) -> list[Float[Tensor, "images dim"]]:
        """The features, and the logits where there are any."""
        given = images.float() / 255 if self._type == torch.float32 else images
        found = self._session.run(self._outputs, {self._input: given.contiguous().numpy()})
        features, *logits = (torch.from_numpy(value).float() for value in found)
        features = features.mean(dim=1) if features.ndim == 3 else features
        if features.ndim != 2 or not bool(torch.isfinite(features).all()):
            raise WeightsError(
                f"{shown(self._path)} must give finite features, images x values; it gave {tuple(features.shape)}"
            )
        return [features, *logits]


def graph_of(path: Path) -> ClassifierGraph:
    """Open a file; WeightsError for what is no such graph, ConfigError where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("an .onnx file needs onnxruntime; install it: pip install 'nextpatch[onnx]'") from None
    if not path.is_file():
        raise WeightsError(f"{shown(path)} does not exist; give an .onnx file of a classifier")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own kinds, which are many
        raise WeightsError(f"{shown(path)} cannot be opened as ONNX: {shown(str(error))[:200]}") from None
    return ClassifierGraph(session, path)


def _classes(facts: dict[str, str]) -> tuple[str, ...]:
    """The names of the classes that the file's metadata say, as those of nextpatch export do."""
    try:
        names = json.loads(facts.get("classes", "[]"))
    except (ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
