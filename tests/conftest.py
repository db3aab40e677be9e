"""Every function of the package has its shapes and types checked while the tests run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts: tests are small, and cores are often shared
install_import_hook(
    "nextpatch", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)  # int is a float

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of tensors computed with the authors' code; never part of the repository."""
    folder = ROOT.parent / "shared" / "golden"
    if not folder.is_dir():
        pytest.skip("no golden tensors beside the repository (../shared/golden); the float64 reference covers the same")
    return folder
