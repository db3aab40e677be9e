"""What docs/paper.md names is there: files, and the classes and functions in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = (ROOT / "src" / "nextpatch", ROOT / "tests", ROOT)


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
