"""Tensors that are spread over ranks, written and read by PyTorch's distributed checkpointing, without its pickles.

It keeps tensors in one file for each rank, and in `.metadata`, a pickle, which part of which tensor lies where. We give
it tensors only, never Python objects, and read that pickle by an unpickler that knows the few classes it is made of.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from nextpatch.core.faults import fault_point
from nextpatch.dist.ranks import Ranks
from nextpatch.runs.checkpoint.files import CheckpointError

METADATA = ".metadata"
_KNOWN = {
    "torch": {"Size", "device", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo", "_StoragePrefix", "SerializationFormat"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath", "PureWindowsPath"},
    "collections": {"OrderedDict"},
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Of a pickle, the classes of `_KNOWN`; anything else is refused before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _member  # so Python 3.11.0 to 3.11.3 write a member of an enumeration
        if name not in _KNOWN.get(module, ()):
            raise CheckpointError(f"it asks for {module}.{name}, which no checkpoint holds")
        return super().find_class(module, name)


def _member(kind: Any, name: str) -> Enum:
    """A member of an enumeration by its name, which is all that a checkpoint needs `getattr` for."""
    if not (isinstance(kind, type) and issubclass(kind, Enum) and name in kind.__members__):
        raise CheckpointError(f"it asks for the attribute {name!r} of {kind!r}, which no checkpoint holds")
    return kind[name]


class _Writer(FileSystemWriter):
    """One thread, because of several the failure of any but the first is lost (PyTorch up to 2.15)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, single_file_per_rank=True, sync_files=False, thread_count=1, overwrite=False)

    def write_data(self, *args: Any, **kwargs: Any) -> Any:
        fault_point("save.tensors")
        return super().write_data(*args, **kwargs)

    def finish(self, *args: Any, **kwargs: Any) -> None:
        fault_point("save.metadata")
        super().finish(*args, **kwargs)


class _Reader(FileSystemReader):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._folder = path

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        metadata = read_metadata(self._folder)
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def is_sharded(path: Path) -> bool:
    """Whether a checkpoint folder was written by several ranks."""
    return (path / METADATA).exists()


def write_shards(path: Path, tensors: Mapping[str, Mapping[str, Tensor]], ranks: Ranks) -> None:
    """Write groups of tensors, spread or not, into `path` (collective); any rank's failure is raised on all."""
    # nothing is computed on DTensors here: in a thread beside the training that crashes PyTorch 2.11
    flat = {f"{group}/{name}": tensor for group, own in tensors.items() for name, tensor in own.items()}
    try:
        save(flat, storage_writer=_Writer(path), process_group=ranks.group)
    except CheckpointException as error:
        raise OSError(f"{path} cannot be written: {_causes(error)}") from error


def own_files(path: Path, ranks: Ranks) -> list[Path]:
    """The files that this rank has written: its part, and on rank 0 the metadata."""
    return sorted(path.glob(f"__{ranks.rank}_*")) + ([path / METADATA] if ranks.is_main else [])


def read_metadata(path: Path) -> Metadata:
    """What lies where; CheckpointError when it is no such thing, or asks for more than tensors of this folder."""
    try:
        metadata = _Unpickler(io.BytesIO((path / METADATA).read_bytes())).load()
        assert isinstance(metadata, Metadata)
        for name, entry in metadata.state_dict_metadata.items():
            if not isinstance(entry, TensorStorageMetadata):
                raise CheckpointError(f"{name} is no tensor")
        for info in metadata.storage_data.values():
            if len(PurePosixPath(info.relative_path).parts) != 1 or info.relative_path.startswith("."):
                raise CheckpointError(f"it points at {info.relative_path}, out of its folder")
    except CheckpointError as error:
        raise CheckpointError(f"{path / METADATA} cannot be trusted: {error}") from None
    except Exception as error:  # whatever hostile bytes make of the unpickler
        raise CheckpointError(f"{path / METADATA} is damaged: {type(error).__name__}: {error}") from None
    return metadata


def entries(path: Path, group: str) -> dict[str, TensorStorageMetadata]:
    """What the metadata says of each of a group's tensors."""
    return {
        name.removeprefix(f"{group}/"): entry
        for name, entry in read_metadata(path).state_dict_metadata.items()
        if name.startswith(f"{group}/") and isinstance(entry, TensorStorageMetadata)
    }


def read_whole(path: Path, group: str) -> dict[str, Tensor]:
    """A group's tensors, whole, on the CPU, in one process."""
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in entries(path, group).items()
    }
    _load({f"{group}/{name}": tensor for name, tensor in tensors.items()}, path, None)
    return tensors


def read_into(path: Path, group: str, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Fill tensors, spread over any mesh or not, in place (collective where they are spread)."""
    flat = {f"{group}/{name}": tensor.detach() for name, tensor in tensors.items()}
    spread = any(isinstance(tensor, DTensor) for tensor in flat.values())
    _load(flat, path, ranks if spread else None)


def _load(flat: dict[str, Tensor], path: Path, ranks: Ranks | None) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is no mistake
        try:
            load(flat, storage_reader=_Reader(path), process_group=ranks and ranks.group, no_dist=ranks is None)
        except CheckpointException as error:  # no Exception, as PyTorch has it
            raise CheckpointError(f"{path} cannot be read: {_causes(error)}; use another step") from error


def _causes(error: CheckpointException) -> str:
    return "; ".join(f"rank {rank}: {failure[0]}" for rank, failure in sorted(error.failures.items()))
