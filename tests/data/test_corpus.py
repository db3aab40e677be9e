"""Any file: the right pixels, or a bad image of the right kind; and never much memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from corpus import corpus
from nextpatch.data.decode import BadImage, decode, header

CASES = corpus()


@pytest.mark.parametrize("name", CASES)
def test_every_file_gives_its_pixels_or_its_reason(name):
    case = CASES[name]
    if isinstance(case.wanted, str):
        with pytest.raises(BadImage) as caught:
            decode(case.data, case.channels)
        assert caught.value.kind == case.wanted
        return
    pixels = decode(case.data, case.channels).permute(1, 2, 0).numpy()
    assert pixels.shape == case.wanted.shape
    assert np.abs(pixels.astype(int) - case.wanted).max() <= case.within
    found = header(case.data)
    assert (found.height, found.width) == case.wanted.shape[:2]
    assert case.channels in (1, 3) or found.channels == case.channels


def test_there_are_sixty_and_more():
    assert len(CASES) >= 60
    assert sum(isinstance(case.wanted, str) for case in CASES.values()) >= 15


def test_bombs_take_no_memory(capsys):
    script = Path(__file__).parents[1] / "bombs.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    grew = {name: float(mib) for name, _, mib, _ in rows}
    with capsys.disabled():
        print(f"[{len(rows)} bombs: at most {max(grew.values()):.0f} MiB] ", end="")
    assert len(rows) == 12
    assert max(grew.values()) < 50, grew
    print(done.stdout)
    assert {name for name, said, _, _ in rows if said == "pixels"} <= {"png text", "png profile"}
