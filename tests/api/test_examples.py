"""The example in the docstring of every public function does what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import nextpatch

PLACES = {name: place for name, place in nextpatch._PLACES.items() if ".api." in place and name[0].islower()}


@pytest.mark.parametrize("name", PLACES)
def test_the_example_of_a_function_runs(
    name: str, tmp_path: Path, nano_run: nextpatch.PretrainResult, flow_run: Path, density_run: Path, upscale_run: Path
) -> None:
    function = getattr(importlib.import_module(PLACES[name]), name)
    runs = {"nano_run": nano_run, "flow_run": flow_run, "density_run": density_run, "upscale_run": upscale_run}
    given = {**runs, "tmp": tmp_path}
    examples = doctest.DocTestFinder(recurse=False).find(function, name, globs=given)
    assert sum(len(found.examples) for found in examples) >= 2, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for found in examples:
        assert runner.run(found).failed == 0


def test_every_public_name_is_there_and_none_needs_torch_before_it_is_used() -> None:
    for name in nextpatch.__all__:
        assert getattr(nextpatch, name).__doc__
    assert set(nextpatch.__all__) == set(nextpatch._PLACES)
    assert set(nextpatch.__all__) <= set(dir(nextpatch))
