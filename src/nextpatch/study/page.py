"""The page of a study: what was asked, what was measured, what it establishes, and beside it what the paper says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from nextpatch.measure.study_result import (
    ClaimResult,
    SeedRun,
    StudyResult,
    VariantResult,
    interval_text,
    signed,
)
from nextpatch.study.comparison import (
    claim_charts,
    comparable_losses,
    comparisons,
    metric_name,
    written,
)
from nextpatch.study.drawings import drawings, without_rows
from nextpatch.study.machines import machines, run_time
from nextpatch.tasks.report.axes import number
from nextpatch.tasks.report.charts import Chart
from nextpatch.tasks.report.templates import page_css, templates

_HERE = Path(__file__).parent
_SAID = {"not established": "not established at this scale"}
_LOOKS = {"holds": "holds", "reversed": "reversed"}


def render_study(result: StudyResult, out: Path, runs: Path) -> str:
    """The page of a study whose folder is `out`; its runs lie in `runs`. It can be drawn while they are under way."""
    template = templates(_HERE).get_template("study.html")
    page: str = template.render(
        v=result,
        css=page_css() + (_HERE / "study.css").read_text(encoding="utf-8"),
        verdict=verdict(result),
        keys=_keys(result),
        open=_open(result),
        losses_alike=comparable_losses(result),
        compared=comparisons(result),
        claims=[_claim(claim) for claim in result.claims],
        claim_charts=claim_charts(result.claims),
        drawn=drawings(result),
        without_rows=without_rows(result),
        rows=[_variant(variant, runs) for variant in result.variants],
        metrics=[metric_name(metric) for metric in result.metrics],
        runs=[_run(variant, run, result.metrics) for variant in result.variants for run in variant.runs],
        commands=_commands(out),
        machines=machines(result, runs),
    )
    return page


def study_charts(result: StudyResult) -> dict[str, Chart]:
    """Every chart of the page, by the name of its file."""
    charts: dict[str, Chart | None] = {}
    for found in comparisons(result):
        charts |= {found.metric: found.ours, f"{found.metric}-paper": found.paper}
    charts |= {f"claims-{i}": chart for i, chart in enumerate(claim_charts(result.claims), 1)}
    charts |= {drawn.name: drawn.chart for drawn in drawings(result)}
    return {name: chart for name, chart in charts.items() if chart}


def verdict(result: StudyResult) -> str:
    """The study in one sentence."""
    said = [f"{result.title}:"]
    if result.claims:
        said.append(f"of {_count(len(result.claims), 'claim')} {_judged(result.claims)}")
    left = [run for variant in result.variants for run in variant.runs if run.status != "done"]
    total = sum(len(variant.runs) for variant in result.variants)
    runs = f"{len(left)} of {_count(total, 'run')} not done" if left else f"all {_count(total, 'run')} done"
    return f"{said[0]} {said[1]}; {runs}." if result.claims else f"{said[0]} {runs}."


def _judged(claims: Sequence[ClaimResult]) -> str:
    counts = Counter[str](claim.verdict for claim in claims)
    words = {
        "holds": ("holds", "hold"), "reversed": ("is reversed", "are reversed"),
        "not established": ("is not established at this scale", "are not established at this scale"),
        "not measured": ("is not measured yet", "are not measured yet"),
    }  # fmt: skip
    found = [
        f"{counts[name]} {one if counts[name] == 1 else many}" for name, (one, many) in words.items() if counts[name]
    ]
    return ", ".join(found)


def _count(number_of: int, what: str) -> str:
    return f"{number_of:,} {what}{'' if number_of == 1 else 's'}"


def _keys(result: StudyResult) -> list[tuple[str, str, str]]:
    """(label, value, note) of the few figures at the head."""
    counts, runs = Counter(claim.verdict for claim in result.claims), [r for v in result.variants for r in v.runs]
    found = []
    if result.claims:
        notes = f"{counts['reversed']} reversed, {counts['not established']} not established at this scale"
        if counts["not measured"]:
            notes += f", {counts['not measured']} not measured yet"
        found.append(("Claims that hold", f"{counts['holds']} of {len(result.claims)}", notes))
    done = Counter(run.status for run in runs)
    others = ", ".join(f"{count} {status}" for status, count in sorted(done.items()) if status != "done")
    found.append(("Runs done", f"{done['done']} of {len(runs)}", others or f"{len(result.seeds)} seeds a variant"))
    images = sorted({variant.images for variant in result.variants})
    if images[-1]:
        steps = " or ".join(f"{steps:,}" for steps in sorted({variant.steps for variant in result.variants}))
        found.append(("Images a run", " / ".join(map(number, images)), f"{steps} steps"))
    return found


def _open(result: StudyResult) -> list[str]:
    """What failed, with the reason, and how much is missing."""
    lines = [
        f"Failed: {_name(variant)}, seed {run.seed}: {run.reason or 'no reason is known'}"
        for variant in result.variants for run in variant.runs if run.status == "failed"
    ]  # fmt: skip
    for status, words in (("running", "Under way"), ("missing", "Missing")):
        found = [f"{_name(v)} (seed {', '.join(seeds)})" for v in result.variants if (seeds := _seeds(v, status))]
        lines += [f"{words}: {'; '.join(found)}"] if found else []
    return lines


def _seeds(variant: VariantResult, status: str) -> list[str]:
    return [str(run.seed) for run in variant.runs if run.status == status]


def _claim(claim: ClaimResult) -> dict[str, Any]:
    missing = f"{len(claim.missing)} of {_count(len(claim.missing) + len(claim.seeds), 'seed')} missing"
    because = [claim.because, missing if claim.missing and claim.seeds else ""]
    return {
        "says": claim.says, "where": claim.where, "verdict": _SAID.get(claim.verdict, claim.verdict),
        "by": metric_name(claim.by) + (f" against {metric_name(claim.than_by)}" if claim.than_by else ""),
        "look": _LOOKS.get(claim.verdict, "open"), "because": "; ".join(filter(None, because)),
        "mean": signed(claim.mean, claim.by), "interval": interval_text(claim), "paper": signed(claim.paper, claim.by),
    }  # fmt: skip


def _variant(variant: VariantResult, runs: Path) -> dict[str, str]:
    return {
        "name": _name(variant), "differs": _differs(variant) or "nothing",
        "trunk": number(variant.params_trunk), "head": number(variant.params_head), "params": number(variant.params),
        "gflops": f"{variant.flops_per_image / 1e9:.3g}", "pflops": f"{variant.flops / 1e15:,.3g}",
        "steps": number(variant.steps), "images": number(variant.images), "time": run_time(variant, runs) or "–",
    }  # fmt: skip


def _differs(variant: VariantResult) -> str:
    """The variant's own values, as flags would name them."""
    told = {**variant.values, "probe": variant.probe, "finetune": variant.finetune}
    named = [f"{table}.{key} {_value(value)}" for table, values in told.items() for key, value in values.items()]
    return ", ".join([*named, *([f"tokenizer {variant.tokenizer}"] if variant.tokenizer else [])])


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _run(variant: VariantResult, run: SeedRun, metrics: Sequence[str]) -> dict[str, Any]:
    state = f"failed: {run.reason}" if run.status == "failed" and run.reason else run.status
    figures = [written(run.figures[metric], metric) if metric in run.figures else "–" for metric in metrics]
    return {"name": _name(variant), "seed": run.seed, "state": state, "bad": run.status == "failed", "step": run.step,
            "figures": figures, "folder": run.run or "–"}  # fmt: skip


def _name(variant: VariantResult) -> str:
    return variant.about or variant.name


def _commands(out: Path) -> list[str]:
    """What to type to have the study again, and to see how far it is."""
    return [
        f"nextpatch study {quote(str(out / 'study.toml'))} --out studies/again",
        f"nextpatch study --show {quote(str(out))}",
    ]
