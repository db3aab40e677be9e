"""Checkpoints that survive: written aside, synced, verified and renamed; read back only when every digest fits.

A checkpoint is a folder `step_00000123` of tensors, state.json and manifest.json (size and SHA-256 of each of the other
files). It appears under its name in one rename, after everything in it is on the disk, so that a crash at any moment
leaves either the old set of checkpoints or the new one. The tensors of one process are safetensors files. Those of a
sharded model are written by PyTorch's distributed checkpointing, each rank its own part, and can be read by any number
of ranks. Python values are JSON, and nothing that is read can run code.
"""

from nextpatch.runs.checkpoint.background import BackgroundSaver as BackgroundSaver
from nextpatch.runs.checkpoint.files import CheckpointError as CheckpointError
from nextpatch.runs.checkpoint.folder import Checkpoint as Checkpoint
from nextpatch.runs.checkpoint.folder import checkpoint_at as checkpoint_at
from nextpatch.runs.checkpoint.folder import newest_checkpoint as newest_checkpoint
from nextpatch.runs.checkpoint.retention import check_disk_space as check_disk_space
from nextpatch.runs.checkpoint.retention import prune as prune
from nextpatch.runs.checkpoint.save import POINTS as POINTS
from nextpatch.runs.checkpoint.save import save_checkpoint as save_checkpoint
from nextpatch.runs.checkpoint.verification import verify as verify
