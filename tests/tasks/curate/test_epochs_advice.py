"""How often images are seen, and what is said of it: nothing that is not known."""

from __future__ import annotations

import pytest

from nextpatch.data.collection import Collection
from nextpatch.data.config import DataConfig
from nextpatch.model.config import ModelConfig
from nextpatch.runs.config import OptimConfig, TrainConfig
from nextpatch.runs.recipe import Recipe
from nextpatch.tasks.curate.epochs_advice import Seen, seen, verdict


class Many:
    """A source of so many images, of which only the number matters."""

    def __init__(self, count: int) -> None:
        self.count, self.name = count, f"{count}"

    def __len__(self) -> int:
        return self.count


@pytest.mark.parametrize("weights", [(1.0,), (0.8, 0.2)])
def test_epochs_add_up_to_the_images_that_a_run_shows(weights: tuple[float, ...]) -> None:
    parts = tuple(Many(1000 * (number + 1)) for number in range(len(weights)))
    recipe = Recipe(ModelConfig(), DataConfig(), OptimConfig(), TrainConfig(steps=50, global_batch_size=64))
    found = seen(recipe, Collection.__new__(Collection, parts[0], parts, weights))
    assert sum(part.epochs * part.images for part in found) == pytest.approx(50 * 64)
    for part, weight in zip(found, weights, strict=True):
        assert part.epochs * part.images == pytest.approx(50 * 64 * weight)


@pytest.mark.parametrize(
    ("images", "epochs", "said"),
    [
        (10**6, 0.9, "nothing to overfit to"),
        (2 * 10**9, 2.5, "did not overfit"),
        (10**7, 100.0, "Not known"),
        (1_281_167, 300.0, "is possible"),
        (500, 400.0, "is possible"),
        (1_281_167, 1600.0, "Expect overfitting"),
        (500, 20_000.0, "Expect overfitting"),
    ],
)
def test_the_word_on_enough(images: int, epochs: float, said: str) -> None:
    assert said in verdict([Seen("a", images, epochs)], 0.4)


def test_whole_image_crops_are_named_where_they_make_it_worse() -> None:
    assert "crop_scale" in verdict([Seen("a", 500, 400.0)], 1.0)
    assert "crop_scale" not in verdict([Seen("a", 500, 400.0)], 0.4)
