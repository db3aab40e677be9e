"""A backbone as one graph, for ONNX or torch.export: normalization inside, any batch size, checked when written."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpatch.config import ConfigError
from nextpatch.core.files import naming_path, replacing, sync
from nextpatch.core.random import torch_generator
from nextpatch.tasks.publish.view import facts_of
from nextpatch.weights.backbone import Backbone
from nextpatch.weights.error import WeightsError

What = Literal["auto", "logits", "pooled", "patches"]
TOLERANCE = 1e-4
EXTRA = "nextpatch.json"  # the file in a .pt2 that says layers, classes and view


class Graph(nn.Module):
    """Pixels in [0, 1] -> logits, one vector an image, or one a patch. Nothing in it depends on the values."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, what: What = "auto") -> None:
        super().__init__()
        self.backbone, about = backbone, backbone.about
        if what == "auto":
            what = "patches" if backbone.classifier is None else "logits"
        if what == "logits" and backbone.classifier is None:
            raise WeightsError(f"{about.name} has no classifier; export pooled or patches, or probe first")
        self.what = what
        if about.attention != "bidirectional":
            backbone.aim.order()  # what is traced cannot find it
        for name, values in (("mean", about.mean), ("std", about.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Float[Tensor, "batch channels height width"]) -> Tensor:
        """What the graph gives, float32."""
        features = self.backbone.read((pixels - self.mean) / self.std)
        if self.what == "patches":
            return features
        return self.backbone.classify(features) if self.what == "logits" else self.backbone.pool(features)

    def example(self, batch: int = 2) -> Float[Tensor, "batch channels height width"]:
        """Pixels of the right shape, the same every time."""
        about = self.backbone.about
        shape = (batch, about.in_chans, *about.img_size)
        return torch.rand(shape, generator=torch_generator(batch))


def to_torch_export(backbone: Backbone, out: Path, what: What = "auto") -> float:
    """Write a .pt2 file (`torch.export.load`); returns the largest difference on another batch size."""
    graph = Graph(backbone, what).eval()
    batch = torch.export.Dim("batch", min=1, max=4096)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch 2.11's own reader
        program = torch.export.export(graph, (graph.example(),), dynamic_shapes=({0: batch},))
        file = io.BytesIO()  # PyTorch's own writer ends the process where the disk is full
        facts = json.dumps({**facts_of(backbone), "gives": graph.what})
        torch.export.save(program, file, extra_files={EXTRA: facts})
        file.seek(0)
        again: Any = torch.export.load(file).module()
        apart = _difference(graph(graph.example(3)), again(graph.example(3)))
    _check_difference(out, apart)
    with replacing(out) as aside:
        aside.write_bytes(file.getbuffer())
    return apart


def to_onnx(backbone: Backbone, out: Path, what: What = "auto") -> float:
    """Write an .onnx file, input "pixels", output named by what it gives; returns the largest difference to
    onnxruntime's answer. Layers, classes and view are in the file's metadata. ConfigError when the extra is missing."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError("ONNX needs more: pip install 'nextpatch[onnx]'") from None
    graph = Graph(backbone, what).eval()
    if _is_large(graph):
        raise WeightsError(f"{backbone.about.name} has over 2 GB, more than an .onnx file holds; use torch.export")
    aside = out.with_name(f".unfinished.{out.name}")
    try:
        with naming_path(out):
            apart = _written_onnx(graph, aside)
        _check_difference(out, apart)
        sync(aside)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    return apart


def _written_onnx(graph: Graph, aside: Path) -> float:
    """Write the file; the largest difference to what onnxruntime makes of it."""
    import onnxruntime

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            graph, (graph.example(),), input_names=["pixels"], output_names=[graph.what], dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},), verbose=False,
        )  # fmt: skip
        assert program is not None
        program.model.metadata_props.update({**facts_of(graph.backbone), "gives": graph.what})
        program.save(str(aside), external_data=False)
        session = onnxruntime.InferenceSession(str(aside), providers=["CPUExecutionProvider"])
        [found] = session.run(None, {"pixels": graph.example(3).numpy()})
        return _difference(graph(graph.example(3)), torch.from_numpy(found))


def _is_large(graph: Graph) -> bool:
    """A protobuf holds 2 GB at most."""
    return sum(p.numel() * p.element_size() for p in graph.parameters()) > 1_900_000_000


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value where that is above one."""
    return float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1.0))


def _check_difference(out: Path, apart: float) -> None:
    """WeightsError when the file does not compute the same: it gets no name then."""
    if not apart <= TOLERANCE:
        raise WeightsError(f"{out} would be off by {apart:.1e}, more than {TOLERANCE:.0e}; it was not written")
