"""How the package is built: no two files import each other, and none, nor any function, is longer than it may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "nextpatch"
LONGEST_FUNCTION, LONGEST_FILE = 60, 250  # lines


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package, by its name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, but for those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from running(child)


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a file imports, inside of functions too."""
    found: set[str] = set()
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in inner}
    return found & known.keys()


def circles(package: Path) -> list[list[str]]:
    """Groups of modules of which each imports the others, directly or by way of others."""
    known = modules(package)
    below = {name: imported(path, known) for name, path in known.items()}
    grown = True
    while grown:
        grown = False
        for name, reached in below.items():
            more = reached.union(*(below[other] for other in reached))
            grown |= len(more) > len(reached)
            below[name] = more
    found = {tuple(sorted(other for other in below[name] if name in below[other])) for name in below}
    return [list(names) for names in sorted(found) if names]


def long_functions(package: Path) -> set[str]:
    """File and name of the functions that are longer than one may be."""
    return {
        f"{path.relative_to(package).as_posix()} {node.name}"
        for path in modules(package).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    }


def long_files(package: Path) -> set[str]:
    """The files that are longer than one may be."""
    return {
        path.relative_to(package).as_posix()
        for path in modules(package).values()
        if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE
    }


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(PACKAGE) == []


def test_no_function_and_no_file_is_too_long() -> None:
    assert long_functions(PACKAGE) == set()
    assert long_files(PACKAGE) == set()


def test_the_searches_find_what_they_look_for(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    (package / "room").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "room/__init__.py": "",
        "a.py": "from pack.room.b import thing\n",
        "room/b.py": "def late():\n    from pack import c\n",
        "c.py": "import pack.a\n",
        "d.py": "if TYPE_CHECKING:\n    import pack.e\n",
        "e.py": "import pack.d\n" + "x = 1\n" * LONGEST_FILE + "def long():\n" + "    x = 1\n" * LONGEST_FUNCTION,
    }.items():
        (package / name).write_text(text)
    assert circles(package) == [["pack.a", "pack.c", "pack.room.b"]]
    assert long_functions(package) == {"e.py long"}
    assert long_files(package) == {"e.py"}


def test_no_two_public_classes_share_a_name() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
