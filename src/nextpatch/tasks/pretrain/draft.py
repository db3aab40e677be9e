"""A recipe in the making: what was given, what is chosen for the rest, and why."""

from __future__ import annotations

from typing import Any

from nextpatch.dist.ranks import Ranks

_MAY_BE_ZERO = ("workers", "warmup_steps")


class Draft:
    """Values on their way to a recipe."""

    def __init__(self, given: dict[str, Any], ranks: Ranks) -> None:
        self.ranks = ranks
        tables = ("model", "data", "optim", "train", "guard", "engine")
        self.values: dict[str, Any] = {**{table: {} for table in tables}, **given}
        self.values |= {table: dict(v) for table, v in self.values.items() if isinstance(v, dict)}
        self.choices: list[str] = []

    def checkable(self) -> dict[str, Any]:
        """The values, with a stand-in for image or patch size while only the other is settled: they must fit; and for
        the number of classes while the labels are not read."""
        model = self.values["model"]
        if not isinstance(model, dict) or not isinstance(self.values["data"], dict):
            return self.values
        img_size, patch = (not self.open("model", name) for name in ("img_size", "patch_size"))
        settled = {k: v for k, v in model.items() if k not in ("img_size", "patch_size") or not self.open("model", k)}
        if img_size and not patch:
            settled["patch_size"] = 1
        elif patch and not img_size and isinstance(settled["patch_size"], int):
            settled["img_size"] = [16 * settled["patch_size"]] * 2
        if self.value("data", "labels", False) and "label_dropout" in model and self.open("model", "classes"):
            settled["classes"] = 1
        return {**self.values, "model": settled}

    def value(self, table: str, name: str, default: Any) -> Any:
        """The value, or `default` where none is given."""
        return self.values[table].get(name, default)

    def open(self, table: str, name: str) -> bool:
        """Whether it is for us to choose: absent, empty, -1, "auto", or a 0 where 0 is no answer."""
        value = self.value(table, name, None)
        return value in (None, -1, "auto", "", [], ()) or (value == 0 and name not in _MAY_BE_ZERO)

    def choose(self, table: str, name: str, value: Any, why: str) -> Any:
        """Settle an open value and say why; a given one stays. Returns the value that holds."""
        if self.open(table, name):
            self.values[table][name] = value
            self.choices.append(f"{table}.{name}: {_shown(value)} ({why})")
        return self.values[table][name]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " x ".join(map(str, value))
    return " ".join(f"{one:g}" for one in value) if isinstance(value, list) else str(value)
