"""GPUs by name: memory, speed and links, from their makers' data sheets."""

from __future__ import annotations

from dataclasses import dataclass

from nextpatch.core.bounds import check_bounds


@dataclass(frozen=True)
class Gpu:
    """One GPU and its links."""

    memory_gib: float
    """Memory of the GPU, in GiB."""
    tflops: float
    """Peak speed of dense bfloat16 matrix products, in 10^12 operations per second."""
    float32_tflops: float
    """Peak speed of float32 products without tensor cores, in 10^12 operations per second.

    A tokenizer codes images at it.
    """
    intra_gbs: float
    """Speed of its link to the other GPUs in the machine, in one direction, in 10^9 bytes per second.

    NVLink, or PCIe where there is none.
    """
    inter_gbs: float
    """Its share of the network between machines, in one direction, in 10^9 bytes per second."""
    round_us: float = 3.4
    """Latency of a message within a machine, in microseconds.

    See communication.py.
    """

    def __post_init__(self) -> None:
        check_bounds(
            self, memory_gib=(1e-3, 1e6), tflops=(1e-3, 1e9), float32_tflops=(1e-3, 1e9), intra_gbs=(1e-3, 1e6),
            inter_gbs=(1e-3, 1e6), round_us=(0, 1e6),
        )  # fmt: skip


# NVIDIA's data sheets: half of the NVLink figure, which counts both directions; networks of 200 (A100) or 400 Gbit/s
# (H100 and later) a GPU, as in NVIDIA's own DGX machines; for cards without NVLink PCIe 4.0 x16 and 100 Gbit/s
GPUS = {
    "b200": Gpu(180e9 / 2**30, 2250, 75, 900, 50),
    "h200": Gpu(141e9 / 2**30, 989, 67, 450, 50),
    "h100": Gpu(80e9 / 2**30, 989, 67, 450, 50),
    "a100-80": Gpu(80e9 / 2**30, 312, 19.5, 300, 25),
    "a100-40": Gpu(40e9 / 2**30, 312, 19.5, 300, 25),
    "l40s": Gpu(48e9 / 2**30, 362, 91.6, 32, 12.5, 5.7),
    "rtx4090": Gpu(24e9 / 2**30, 165, 82.6, 32, 12.5, 5.7),
}
