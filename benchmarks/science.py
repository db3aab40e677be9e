"""The findings of studies as the table of docs/science.md, and the figures of every seed as one CSV file.

    python benchmarks/science.py STUDIES [--into docs/science.md] [--csv docs/science.csv]

STUDIES holds a folder for each study, as `nextpatch study` leaves it. Without --into the table is printed; with it the
lines between the two marks of that file are replaced. Nothing is computed here: differences, intervals and verdicts are
those of each study.json.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- findings: made by benchmarks/science.py -->", "<!-- end of findings -->"
HEAD = ("source", "finding", "by", "paper", "here", "seeds", "verdict")
UNITS = {"val_loss": "loss", "attentive": "attentive", "linear": "linear", "finetune": "fine-tuned"}


def main() -> None:
    """Read the studies, print or replace the table, write the CSV file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    studies = dict(read(given.studies))
    table = "\n".join(lines(studies))
    if given.csv:
        given.csv.write_text(seeds_of(studies))
    if given.into is None:
        print(table)
        return
    text = given.into.read_text()
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    given.into.write_text(f"{text[:before]}\n\n{table}\n\n{text[after:]}")


def read(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every study with a result, by the name of its folder."""
    for path in sorted(folder.glob("*/study.json")):
        yield path.parent.name, json.loads(path.read_text())


def lines(studies: dict[str, dict[str, Any]]) -> Iterator[str]:
    """One row a claim, a claim that two studies share once."""
    yield f"| {' | '.join(HEAD)} |"
    yield f"|{'---|' * len(HEAD)}"
    seen = set()
    for study in studies.values():
        names = {variant["name"]: variant["about"] for variant in study["variants"]}
        for claim in study["claims"]:
            row = finding(claim, names)
            if row not in seen:
                yield f"| {' | '.join(row)} |"
            seen.add(row)


def finding(claim: dict[str, Any], names: dict[str, str]) -> tuple[str, ...]:
    """A claim in words, the paper's difference, ours with its interval, how many seeds, the verdict."""
    variants = [names[name] for name in claim["variants"]]
    what = " < ".join(variants) if claim["kind"] == "trend" else f"{variants[1]} better than {variants[0]}"
    digits = 4 if claim["by"] == "val_loss" else 1
    paper = "-" if claim["paper"] is None else f"{claim['paper']:+.{digits}f}"
    return (
        claim["where"], what, UNITS.get(claim["by"], claim["by"]), paper, difference(claim, digits),
        str(len(claim["seeds"])), claim["verdict"],
    )  # fmt: skip


def difference(claim: dict[str, Any], digits: int) -> str:
    """Mean of the paired differences and its 95 % t-interval; positive is as claimed."""
    if claim["mean"] is None:
        return "-"
    mean = f"{claim['mean']:+.{digits}f}"
    return mean if claim["low"] is None else f"{mean} ({claim['low']:+.{digits}f} to {claim['high']:+.{digits}f})"


def seeds_of(studies: dict[str, dict[str, Any]]) -> str:
    """The figures of every variant and seed."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["study", "variant", "seed", "metric", "value", "paper", "params", "flops_per_image", "images"])
    for name, study in studies.items():
        for variant in study["variants"]:
            about = [variant["params"], round(variant["flops_per_image"])]
            for run in variant["runs"]:
                for metric, value in run["figures"].items():
                    paper = variant["paper"].get(metric, "")
                    table.writerow(
                        [name, variant["name"], run["seed"], metric, round(value, 5), paper, *about, run["images"]]
                    )
    return out.getvalue()


if __name__ == "__main__":
    main()
