"""docs/promises.md: every test it names is one, and no promise stands there without."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
#: It says only that others hold.
UNNAMED = {"a machine"}


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_named_test_is_there() -> None:
    assert len(NAMED) > 30
    missing = [f"{file}::{name}" for file, name in NAMED if not (ROOT / file).is_file()]
    missing += [
        f"{file}::{name}"
        for file, name in NAMED
        if (ROOT / file).is_file() and name not in functions_of(ROOT / file)
    ]
    assert not missing


def test_every_promise_names_its_test() -> None:
    rows = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row[0].strip() not in {"promise", "part", *UNNAMED}]
    assert len(promises) > 25
    assert not [row[0] for row in promises if "::" not in row[-1]]


def test_the_readme_names_the_page() -> None:
    assert "(docs/promises.md)" in (ROOT / "README.md").read_text()
