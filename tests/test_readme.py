"""The README's file map is the package: every module, in order, with the first line of its docstring."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "nextpatch"


def file_map() -> str:
    """A line per module: path and first line of the docstring; rooms from the top of the import law down."""
    rooms = [
        "cli",
        "api",
        "law",
        "bench",
        "study",
        "tasks",
        "train",
        "sampling",
        "weights",
        "runs",
        "dist",
        "objective",
        "tokenizer",
        "model",
        "data",
        "measure",
        "scaling",
        ".",
        "core",
    ]
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(rooms) - {"."}
    modules = [
        path
        for room in rooms
        for path in sorted((PACKAGE / room).glob("*.py" if room == "." else "**/*.py"))
        if not path.name.startswith("__")
    ]
    return "\n".join(f"{path.relative_to(PACKAGE).as_posix():<30} {first_line(path)}" for path in modules)


def first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} does not say what it is for"
    return docstring.splitlines()[0]


def test_the_file_map_is_true():
    expected, readme = file_map(), (ROOT / "README.md").read_text(encoding="utf-8")
    assert expected in readme, f"put this file map into README.md:\n{expected}"
