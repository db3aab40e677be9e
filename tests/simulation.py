"""A rank of a thousand, simulated: the real engine on fake tensors and a fake process group, every storage counted.

    python tests/simulation.py SIZE REPLICATE SHARD IMAGES CHECKPOINTING

prints what a rank holds, in bytes, as JSON. One process simulates one mesh: process groups are global.
"""

from __future__ import annotations

import json
import sys
import warnings
import weakref
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from losses import loss_sum
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.mesh import open_mesh
from nextpatch.dist.parallelize import all_reduce_at_the_end, parallelize
from nextpatch.model import aim, attention
from nextpatch.model.attention import Rows
from nextpatch.model.config import ModelConfig
from nextpatch.objective import next_patch
from nextpatch.objective.next_patch import scored_mask
from nextpatch.runs.config import OptimConfig
from nextpatch.train.optimizer import build_optimizer, prepare_state


class Storages(TorchDispatchMode):
    """Bytes of all storages alive (`now`) and the most there were (`peak`), each storage counted once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary()

    def __enter__(self) -> Storages:
        self._resize = torch.UntypedStorage.resize_

        def resized(storage: Any, size: int) -> Any:  # how FSDP2 frees gathered weights and brings them back
            before = storage.nbytes()
            done = self._resize(storage, size)
            if storage in self._sizes:
                self._add(storage.nbytes() - before)
                self._sizes[storage][0] = storage.nbytes()
            return done

        torch.UntypedStorage.resize_ = resized
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize
        super().__exit__(*args)

    def count(self, tensor: Tensor) -> None:
        """Count a tensor's storage, if it is not counted yet, until it is gone."""
        storage = (tensor._local_tensor if isinstance(tensor, DTensor) else tensor).untyped_storage()
        if storage not in self._sizes:
            size = self._sizes[storage] = [storage.nbytes()]
            self._add(size[0])
            weakref.finalize(storage, self._gone, size)

    def _add(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)

    def _gone(self, size: list[int]) -> None:
        self.now -= size[0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return out


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, None if mask is None else mask.to(q.dtype))


def simulate(cfg: ModelConfig, replicate: int, shard: int, images: int, recompute: str) -> dict[str, float]:
    """Bytes of rank 0: weights, weights and optimizer, what forward leaves for backward, and scored patches; the peak
    of a step of one micro-batch, and of one of several.

    Attention is PyTorch's fused one, as on a GPU. Prefixes are spread evenly.
    """
    prefix = (
        torch.linspace(1, cfg.num_patches - 1, images).long() if images > 1 else torch.tensor([cfg.num_patches // 2])
    )
    scored = scored_mask(prefix, cfg.num_patches)
    rows = Rows(scored)  # depends on values, which fake tensors do not have
    next_patch.scored_mask, next_patch.Rows = lambda *_: scored, lambda _: rows
    attention.attend = _fused
    dist.init_process_group("fake", rank=0, world_size=replicate * shard, store=FakeStore())
    mesh = open_mesh((replicate, shard), torch.device("cpu"))
    found: dict[str, float] = {"scored": float(scored.sum()) / images}
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("meta"):
            model = aim.AIM(cfg)
        parallelize(model, mesh, EngineConfig(activation_checkpointing=recompute), "bf16")
        with Storages() as storages:
            model.to_empty(device="cpu")
            for values in (*model.parameters(), *model.buffers()):
                storages.count(values)
            found["weights"] = storages.now
            optimizer = build_optimizer(model, OptimConfig())
            prepare_state(optimizer)
            for state in optimizer.state.values():
                for values in state.values():
                    storages.count(values)
            found["state"] = storages.now
            pixels = torch.randn(images, cfg.in_chans, *cfg.img_size)
            for name, micro_batches in (("first", 1), ("peak", 1), ("several", 2)):  # the first step has more to do
                storages.peak = storages.now
                for left in reversed(range(micro_batches)):
                    all_reduce_at_the_end(model, last=left == 0)
                    with torch.autocast("cpu", dtype=torch.bfloat16):
                        loss = loss_sum(model, pixels, prefix) / 100
                    if micro_batches == 1:
                        found["kept"] = storages.now - found["state"]
                    loss.backward()
                    del loss
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                found[name] = storages.peak
    dist.destroy_process_group()
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    size, *numbers, how = sys.argv[1:]
    print(json.dumps(simulate(ModelConfig(size=size), *map(int, numbers), how)))
