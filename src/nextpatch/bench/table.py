"""Table 6 with our row in it: as a page of Markdown, as CSV, as JSON, and for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from nextpatch.bench.registry import BENCHMARKS, OF_THE_PAPER, TABLE_6, Benchmark
from nextpatch.core.files import write_json, write_text
from nextpatch.measure.bench_result import BenchmarkScore, BenchResult
from nextpatch.measure.table import Table

TABLES = ("bench.md", "bench.csv", "bench.json")
Results = Mapping[str, BenchmarkScore]  # by the name of a benchmark


def rows(results: Results, ours: str) -> tuple[list[Benchmark], list[tuple[str, list[float | None], float | None]]]:
    """(the benchmarks that were measured, rows of name, figures and average over exactly these); ours comes first."""
    measured = [benchmark for benchmark in BENCHMARKS if benchmark.name in results]
    table: list[tuple[str, list[float | None]]] = [(ours, [results[b.name].top1 for b in measured])]
    for name, figures in TABLE_6.items():
        by_name = dict(zip(OF_THE_PAPER, figures, strict=True))
        table.append((name, [by_name.get(b.name) for b in measured]))
    return measured, [(name, values, _mean(values)) for name, values in table]


def write_tables(out: Path, results: Results, ours: str, notes: Sequence[str]) -> BenchResult:
    """bench.md, bench.csv and bench.json, and what is in the last."""
    measured, table = rows(results, ours)
    heads = ["model", *(benchmark.title for benchmark in measured), "average"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    for name, values, mean in table:
        cells = [_shown(value) for value in (*values, mean)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        writer.writerow([name, *cells])
    said = [f"- {note}" for note in (*notes, *_remarks(measured, results))]
    page = f"# {ours} on {_counted(measured)}\n\n" + "\n".join(lines) + "\n\n"
    page += "Top-1 accuracy in %. Rows but the first are Table 6 of the paper; the average is over these columns.\n\n"
    write_text(out / TABLES[0], page + "\n".join(said) + "\n")
    write_text(out / TABLES[1], text.getvalue())
    whole = BenchResult(model=ours, results=dict(results), notes=tuple(note[2:] for note in said))
    write_json(out / TABLES[2], whole.to_dict())
    return whole


def table_6(found: BenchResult) -> Table:
    """Our row and those of the paper, for a terminal."""
    measured, table = rows(found.results, found.model)
    title = f"Top-1 in %, attentive probe; {_counted(measured)}; other rows: Table 6"
    columns = ["model", *(benchmark.name for benchmark in measured), "average"]
    return Table(title, columns, [[name, *map(_shown, (*values, mean))] for name, values, mean in table])


def _counted(measured: Sequence[Benchmark]) -> str:
    others = sum(benchmark.name not in OF_THE_PAPER for benchmark in measured)
    more = f" and {others} more" if others else ""
    return f"{len(measured) - others} of the paper's {len(OF_THE_PAPER)} benchmarks{more}"


def _remarks(measured: Sequence[Benchmark], results: Results) -> list[str]:
    remarks = [f"{b.title}: {b.note}" for b in measured if b.note]
    remarks += [
        f"{benchmark.title}: {both:,} of its test images are among its training images too"
        for benchmark in measured
        if (both := results[benchmark.name].test_in_training)
    ]
    for benchmark in measured:
        found, own = results[benchmark.name].counts, benchmark.counts
        if found != own:
            remarks.append(
                f"{benchmark.title}: measured on {found[0]:,} training and {found[1]:,} test images of {found[2]:,} "
                f"classes, NOT the benchmark's own {own[0]:,}, {own[1]:,} and {own[2]:,}"
            )
    return remarks


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
