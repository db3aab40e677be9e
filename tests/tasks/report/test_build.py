"""The page is one file that needs nothing else, and is made from whatever a run has."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nextpatch.runs.results import set_aside
from nextpatch.runs.run import RunError
from nextpatch.tasks.report.build import write_report

SECTIONS = ["learning", "places", "completions", "features", "probe", "run"]


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def sections(self) -> list[str | None]:
        return [attrs.get("id") for tag, attrs in self.tags if tag == "section"]

    def images(self) -> list[str]:
        return [attrs.get("src") or "" for tag, attrs in self.tags if tag == "img"]


def written(run: Path) -> tuple[str, dict[str, Any]]:
    html = write_report(run, images=3).page.read_text(encoding="utf-8")
    return html, json.loads((run / "report.json").read_text(encoding="utf-8"))


def test_a_whole_run_gives_every_section_and_picture(run: Path) -> None:
    html, values = written(run)
    page = Page(html)
    assert page.sections() == SECTIONS
    assert len(page.images()) == 3 * 5 + 3 * 3
    assert values["notes"] == []
    assert values["verdict"] in html


def test_the_commands_can_be_typed_as_they_stand(run: Path) -> None:
    probe = json.loads((run / "probe.json").read_text())
    (run / "probe.json").write_text(json.dumps({**probe, "data": "my photos", "test": set_aside("my photos")}))
    _, values = written(run)
    pretrain, measure, _ = map(shlex.split, values["commands"])
    assert pretrain == ["nextpatch", "pretrain", str(run / "recipe.toml"), "--out", "runs/again"]
    assert measure == ["nextpatch", "probe", "runs/again", "--data", "my photos"]


@pytest.mark.parametrize("content", [b"", b"garbage", "another"])
def test_a_probe_file_that_does_not_fit_costs_only_its_map(
    run: Path, content: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    if isinstance(content, bytes):
        (run / "probe.safetensors").write_bytes(content)
    else:
        save_file({"query_key": torch.randn(2, 7)}, run / "probe.safetensors", {"layers": '["block_9"]'})
    html, _ = written(run)
    assert Page(html).sections() == SECTIONS
    assert len(Page(html).images()) == 3 * 5 + 3 * 2
    assert "no attention map from" in caplog.text


def test_nothing_on_the_page_comes_from_elsewhere(run: Path) -> None:
    html, _ = written(run)
    page = Page(html)
    assert all(uri.startswith("data:image/png;base64,") for uri in page.images())
    links = [attrs.get(key) for _, attrs in page.tags for key in ("src", "href", "action", "data") if attrs.get(key)]
    assert all((link or "").startswith("data:") for link in links)
    assert not re.search(r"url\(|@import|<script|<iframe|https?://", html)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_names_from_outside_are_escaped(run: Path) -> None:
    html, _ = written(run)
    found = write_report(run, images=1)
    assert found.summary.val_loss == pytest.approx(0.7)
    assert found.summary.baseline_loss is not None
    assert found.verdict in str(found)
    assert "a &lt;run&gt;" in found._repr_html_()
    assert "a <run>" not in found._repr_html_()
    assert "a &lt;run&gt;" in html
    assert "a <run>" not in html


def test_figures_are_those_of_the_files(run: Path) -> None:
    _, values = written(run)
    assert values["validation"]["curve"][-1] == {"step": 20, "loss": pytest.approx(0.7), "ema_loss": None}
    assert values["training"]["images"] == 80
    assert len(values["probe"]["compared"]["pre-trained"]) == 2
    assert "10.0 points above the same network untrained and 8.0 points above raw pixels" in values["verdict"]
    assert 0.9 < values["validation"]["mean_guess_loss"] < 1


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert written(run) == written(run)


@pytest.mark.parametrize(
    ("lost", "gone", "note"),
    [
        ("metrics.jsonl", {"learning", "places"}, "No training step is recorded"),
        ("probe.json", {"probe"}, "not measured yet"),
        ("checkpoints", {"completions", "features"}, "No pictures"),
        ("../images", {"completions", "features"}, "No pictures"),
        ("env.json", set(), "env.json is missing"),
        ("probe.safetensors", set(), ""),
    ],
)
def test_what_is_lost_is_named_and_the_rest_is_shown(run: Path, lost: str, gone: set[str], note: str) -> None:
    target = run / lost
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    html, values = written(run)
    assert Page(html).sections() == [name for name in SECTIONS if name not in gone]
    assert note in " ".join(values["notes"])


def test_data_that_shrank_or_decodes_no_more_is_named(run: Path) -> None:
    images = sorted((run / "../images").iterdir())
    for path in images[3:]:
        path.unlink()
    assert "data.val_images 6 is more than the images can spare, which are" in " ".join(written(run)[1]["notes"])
    for path in images:
        path.write_bytes(b"no image")
    assert "no held-out image could be decoded" in " ".join(written(run)[1]["notes"])


def test_a_run_that_has_only_begun_has_a_page(run: Path) -> None:
    for name in ("metrics.jsonl", "probe.json", "probe.safetensors", "env.json"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    html, values = written(run)
    assert "Nothing is measured yet" in values["verdict"]
    assert Page(html).sections() == ["run"]


def test_a_validation_without_a_finite_loss_is_named_and_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'\xff{\n{"kind": "val", "step": 21, "loss": null, "not_finite": {"loss": "inf"}}\n')
        file.write(b'{"kind": "train", "step": 22}\n')
    _, values = written(run)
    assert values["training"]["step"] == 20
    assert "2 entries of metrics.jsonl without a finite loss were skipped." in values["notes"]


def test_a_torn_last_line_of_the_metrics_is_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert written(run)[1]["training"]["step"] == 20


def test_weights_newer_than_the_probe_are_pointed_out(run: Path) -> None:
    probe = json.loads((run / "probe.json").read_text())
    (run / "probe.json").write_text(json.dumps({**probe, "checkpoint_step": 10}))
    assert "The probe measured step 10" in " ".join(written(run)[1]["notes"])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"recipe\.toml"):
        write_report(tmp_path)
