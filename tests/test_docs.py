"""What the pages name is there: the files that all of them name, and the classes and functions of docs/paper.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = (ROOT / "src" / "nextpatch", ROOT / "tests", ROOT)
RECORDS = ("log.md",)  # tells of files as they were then
PAGES = [path for path in sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))) if path.name not in RECORDS]


def test_everything_named_in_paper_md_exists() -> None:
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    words = [word for word in re.findall(r"`([\w/.*-]+)`", text) if "/" in word or "." in word]
    assert len(words) > 30
    for word in words:
        whole = word.endswith(("/", ".py", ".toml"))
        folder, _, last = word.rpartition("/")
        module, *names = [word] if whole else [f"{folder}/{last.split('.')[0]}.py".lstrip("/"), *last.split(".")[1:]]
        found = [path for place in PLACES for path in place.glob(module)]
        assert found, f"docs/paper.md names {word}, which is not there"
        for name in names:
            assert name in found[0].read_text(encoding="utf-8"), f"docs/paper.md names {word}: no {name} in {module}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = re.sub(r"https?://[^\s)]+", "", page.read_text(encoding="utf-8"))
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    links = set(re.findall(r"\]\(([^)#]+)\)", prose))
    assert not [target for target in links if not (page.parent / target).exists()]
    named = set(re.findall(r"(?<![\w/.~-])\w[\w.-]*/[\w./-]*\w\.(?:py|sh|sbatch|yaml|md)\b", text))
    assert not [name for name in named if not any((place / name).exists() for place in PLACES)]
