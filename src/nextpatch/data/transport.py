"""How batches travel between processes: pixels in memory that both see, the rest through the pipe."""

from __future__ import annotations

import io
import logging
import math
import mmap
import os
import pickle
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)
_ALIGNED = 64  # bytes
_told = False  # once is enough


class TensorTransport:
    """Tensors of an answer in one piece of memory that is handed over, not copied through the pipe.

    The memory has no name and needs no /dev/shm. Where it is not to be had (limits on the size of files, no memory
    left, another system than Linux), the tensors come through the pipe, which is slower.
    """

    def send(self, pipe: Connection, answer: Any) -> None:
        """One message, then the memory or its content."""
        written = io.BytesIO()
        pickler = _Pickler(written)
        pickler.dump(answer)
        handle, reason = _shared(pickler.tensors, pickler.size) if pickler.size else (None, "")
        pipe.send((written.getvalue(), pickler.size, handle is not None, reason))
        if handle is not None:
            try:
                reduction.send_handle(pipe, handle, None)
            finally:
                os.close(handle)
        elif pickler.size:
            block = bytearray(pickler.size)
            _fill(block, pickler.tensors)
            pipe.send_bytes(block)

    def receive(self, pipe: Connection) -> Any:
        """What was sent; its tensors are views of the memory."""
        message, size, shared, reason = pipe.recv()
        _tell(reason)
        block: Any = b""
        if shared:
            handle = _handle(pipe)
            try:
                block = mmap.mmap(handle, size)
            finally:
                os.close(handle)
        elif size:
            block = bytearray(pipe.recv_bytes())
        return _Unpickler(io.BytesIO(message), block).load()


def _handle(pipe: Connection) -> int:
    try:
        return reduction.recv_handle(pipe)
    except RuntimeError as error:  # the kernel leaves the handle out when there is no number for it
        raise OSError(f"too many open files for one more ({error}); raise the limit: ulimit -n") from error


def _tell(reason: str) -> None:
    global _told
    if reason and not _told:
        _told = True
        log.warning("no memory can be shared with data workers (%s); images come through pipes, more slowly", reason)


class _Pickler(pickle.Pickler):
    """Leaves the content of tensors out, and notes where it will stand."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[tuple[int, Tensor]] = []
        self.size = 0

    def persistent_id(self, value: Any) -> Any:
        """(where, dtype, shape) of a tensor; None for all else."""
        if type(value) is not Tensor or value.device.type != "cpu" or value.layout != torch.strided:
            return None
        at = -(-self.size // _ALIGNED) * _ALIGNED
        self.tensors.append((at, value))
        self.size = at + value.nbytes
        return at, value.dtype, tuple(value.shape)


class _Unpickler(pickle.Unpickler):
    """Puts the tensors back. It reads what our own process wrote into its pipe, never a file."""

    def __init__(self, file: io.BytesIO, block: Any) -> None:
        super().__init__(file)
        self._block = block

    def persistent_load(self, pid: Any) -> Tensor:
        """The tensor that stands there."""
        at, dtype, shape = pid
        if not math.prod(shape):
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(self._block, dtype=dtype, count=math.prod(shape), offset=at).view(shape)


def _shared(tensors: list[tuple[int, Tensor]], size: int) -> tuple[int | None, str]:
    """(a handle of memory that holds the tensors, "") or (None, why there is none)."""
    if not hasattr(os, "memfd_create"):
        return None, ""  # another system than Linux, where nothing is wrong
    handle = -1
    try:
        handle = os.memfd_create("nextpatch")
        os.posix_fallocate(handle, 0, size)
        with mmap.mmap(handle, size) as block:
            _fill(block, tensors)
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        return None, str(error)
    return handle, ""


def _fill(block: Any, tensors: list[tuple[int, Tensor]]) -> None:
    for at, tensor in tensors:
        if tensor.nbytes:
            there = torch.frombuffer(block, dtype=tensor.dtype, count=tensor.numel(), offset=at)
            there.view(tensor.shape).copy_(tensor.detach())
            del there
