"""What the tree promises about itself: imports point down, files stay small, and nothing is called that may not be.

Each check yields sentences about what is wrong; a test passes when there are none.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
FLOORS = ["server", "rooms", "dispatch", "storage"]  # an import may only point to the right
APART = ["loadtest"]  # speaks over sockets and HTTP only
PACKAGES = [*FLOORS, *APART]

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
LUA_CODE_LINES_MAX = 60

CLOCKS = {
    "time.time",
    "time.time_ns",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.date.today",
}
CHANCE = {"random", "secrets", "os.urandom", "uuid.uuid1", "uuid.uuid4"}
TASKS = {"asyncio.create_task", "asyncio.ensure_future", "asyncio.get_running_loop.create_task"}
# Both keep their tasks, hear of their errors and end them; the drain stands below rooms/ and cannot use its helper.
HOLDERS = ["rooms/tasks.py", "storage/drain.py"]
# (calls, where they are banned, where they are allowed all the same, why)
BANNED: list[tuple[set[str], list[str], list[str], str]] = [
    (CLOCKS | CHANCE, ["dispatch/"], [], "a rule is pure: time and chance are given to it"),
    (
        {"print"},
        FLOORS,
        ["server/cli.py", "server/usercommands.py", "server/policycommands.py", "server/devstack/"],
        "only commands print; the rest logs",
    ),
    ({"asyncio.sleep", "time.sleep"}, ["tests/"], ["tests/support.py"], "wait_until instead of a sleep"),
    ({"eval", "exec"}, ["*"], [], "text is data"),
    (TASKS, FLOORS, HOLDERS, "a task that nobody holds fails unseen: use rooms/tasks.py"),
    ({"datetime.datetime.utcnow", "datetime.datetime.utcfromtimestamp"}, ["*"], [], "it has no time zone"),
]

# Written so that they do not match themselves.
MACHINE = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|far[m]|hom[e])/[a-z]")
REGISTRY = re.compile(
    r"(?:pypi[.]org|pythonhosted[.]org|registry[.]npmjs|artifact[r]egistry|deb[.]debian[.]org)"
)


@cache
def tracked() -> list[Path]:
    """Files under version control; all of them where the tree came without its history."""
    if (CHECKOUT / ".git").exists() and shutil.which("git"):
        argv = ["git", "-c", f"safe.directory={CHECKOUT}", "ls-files"]
        asked = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        return [CHECKOUT / name for name in asked.stdout.splitlines() if (CHECKOUT / name).is_file()]
    made = {".venv", ".dev", ".git", "node_modules", "__pycache__"}
    return [path for path in CHECKOUT.rglob("*") if path.is_file() and not made & set(path.parts)]


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def with_suffix(*suffixes: str) -> list[Path]:
    return [path for path in tracked() if path.suffix in suffixes]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno


def check_imports(path: Path) -> Iterator[str]:
    package = name_of(path).partition("/")[0]
    if package not in PACKAGES:
        return
    allowed = {package} if package in APART else set(FLOORS[FLOORS.index(package) :])
    for module, line in imports(parsed(path)):
        target = module.partition(".")[0]
        if target in {*PACKAGES, "tests"} and target not in allowed:
            yield f"{name_of(path)}:{line} imports {module}: {package}/ may import {sorted(allowed)} only"


def check_devstack_is_stdlib(path: Path) -> Iterator[str]:
    for module, line in imports(parsed(path)):
        if (
            not module.startswith("server.devstack")
            and module.partition(".")[0] not in sys.stdlib_module_names
        ):
            yield f"{name_of(path)}:{line} imports {module}, and runs before anything is installed"


def names_in_scope(tree: ast.Module) -> dict[str, str]:
    """What each imported name means, so that `from time import time as now` is seen through."""
    meaning = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            meaning |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            meaning |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return meaning


def dotted(node: ast.expr, meaning: dict[str, str]) -> str | None:
    """`loop().create_task` of an imported loop() reads `asyncio.get_running_loop.create_task`."""
    if isinstance(node, ast.Call):
        return dotted(node.func, meaning)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, meaning)
        return f"{before}.{node.attr}" if before else None
    return meaning.get(node.id, node.id) if isinstance(node, ast.Name) else None


def is_banned(call: str, banned: set[str]) -> bool:
    return call in banned or call.partition(".")[0] in banned & {"random", "secrets"}


def check_calls(path: Path) -> Iterator[str]:
    name, meaning = name_of(path), names_in_scope(parsed(path))
    rules = [
        (banned, why)
        for banned, places, exempt, why in BANNED
        if any(place == "*" or name.startswith(place) for place in places)
        and not any(name.startswith(place) for place in exempt)
    ]
    for node in ast.walk(parsed(path)):
        call = dotted(node.func, meaning) if isinstance(node, ast.Call) else None
        if call:
            yield from (
                f"{name}:{node.lineno} calls {call}: {why}"
                for banned, why in rules
                if is_banned(call, banned)
            )


def check_sizes(path: Path) -> Iterator[str]:
    lines = path.read_text().count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{name_of(path)} has {lines} lines, {FILE_LINES_MAX} are the most: split it by idea"
    if path.suffix != ".py":
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{name_of(path)}:{node.lineno} {node.name} has {length} lines, {FUNCTION_LINES_MAX} are the most"


def check_docstring(path: Path) -> Iterator[str]:
    if path.read_text().strip() and not ast.get_docstring(parsed(path)):
        yield f"{name_of(path)} does not begin with what it owns and guarantees"


def check_lua(path: Path) -> Iterator[str]:
    lines = [line.strip() for line in path.read_text().splitlines()]
    code = [line for line in lines if line and not line.startswith("--")]
    if len(code) > LUA_CODE_LINES_MAX:
        yield f"{name_of(path)} has {len(code)} lines of code, {LUA_CODE_LINES_MAX} are the most"
    header = "\n".join(lines[: lines.index(code[0])])
    for word in ("KEYS", "ARGV", "Returns"):
        if not re.search(rf"^-- {word}\b", header, re.MULTILINE):
            yield f"{name_of(path)}: the header has no line '-- {word} ...'"


def check_places(path: Path) -> Iterator[str]:
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        for found in (MACHINE.search(line), REGISTRY.search(line)):
            if found:
                yield f"{name_of(path)}:{number} names {found.group()}, which is of one machine or registry"


def check_dependencies(pyproject: str) -> Iterator[str]:
    """Every requirement stands on a line of its own, with what it is for."""
    config = tomllib.loads(pyproject)
    wanted = [*config["project"]["dependencies"]]
    for group in config["dependency-groups"].values():
        wanted += group
    for requirement in wanted:
        if not re.search(rf'^\s*"{re.escape(requirement)}",\s*# \S', pyproject, re.MULTILINE):
            yield f"pyproject.toml does not say what {requirement} is for"


def all_of(check: object, paths: list[Path]) -> list[str]:
    assert callable(check)
    assert paths, "the check looked at nothing"
    return [sentence for path in paths for sentence in check(path)]


PYTHON = with_suffix(".py")
DEVSTACK = [path for path in PYTHON if name_of(path).startswith("server/devstack/")]
SCRIPTS = [path for path in tracked() if name_of(path) in {"dev", ".ci/run"}]
SIZED = [*with_suffix(".py", ".lua", ".js", ".mjs", ".sh"), *SCRIPTS]


@pytest.mark.parametrize(
    ("check", "paths"),
    [
        pytest.param(check_imports, PYTHON, id="imports point down"),
        pytest.param(check_devstack_is_stdlib, DEVSTACK, id="devstack is stdlib only"),
        pytest.param(check_calls, PYTHON, id="banned calls"),
        pytest.param(check_sizes, SIZED, id="sizes"),
        pytest.param(check_docstring, PYTHON, id="docstrings"),
        pytest.param(check_lua, with_suffix(".lua"), id="lua"),
        pytest.param(check_places, tracked(), id="no machine, no registry"),
    ],
)
def test_the_tree(check: object, paths: list[Path]) -> None:
    wrong = all_of(check, paths)
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_dependency_says_what_it_is_for() -> None:
    assert list(check_dependencies((CHECKOUT / "pyproject.toml").read_text())) == []


def test_every_package_is_packaged() -> None:
    """A wheel would come without it."""
    config = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    found = {name_of(path.parent).replace("/", ".") for path in PYTHON if path.name == "__init__.py"}
    expected = {name for name in found if name.partition(".")[0] in PACKAGES}
    assert expected == set(config["tool"]["setuptools"]["packages"])


# A check that finds nothing anywhere proves nothing: each one is shown a wrong file.


@pytest.mark.parametrize(
    ("check", "place", "text", "found"),
    [
        (check_imports, "storage/wrong.py", "from rooms.gate import hear\n", "imports rooms.gate"),
        (check_imports, "dispatch/wrong.py", "import server.app\n", "imports server.app"),
        (check_imports, "loadtest/wrong.py", "from storage import keys\n", "imports storage"),
        (check_devstack_is_stdlib, "server/devstack/wrong.py", "import psutil\n", "imports psutil"),
        (check_calls, "dispatch/wrong.py", "from time import time as now\nnow()\n", "calls time.time"),
        (check_calls, "dispatch/wrong.py", "import datetime as d\nd.datetime.now()\n", "datetime.datetime.now"),
        (check_calls, "dispatch/wrong.py", "import random\nrandom.Random().choice([1])\n", "calls random"),
        (check_calls, "rooms/wrong.py", "print('x')\n", "calls print"),
        (check_calls, "tests/wrong.py", "import asyncio\nasyncio.sleep(1)\n", "calls asyncio.sleep"),
        (check_calls, "rooms/wrong.py", "import asyncio\nasyncio.create_task(f())\n", "create_task"),
        (check_calls, "storage/wrong.py", "import asyncio as a\na.get_running_loop().create_task(f())\n", "_task"),
        (check_calls, "loadtest/wrong.py", "eval('1')\n", "calls eval"),
        (check_sizes, "server/wrong.py", "x = 1\n" * 401, "has 401 lines"),
        (check_sizes, "server/wrong.py", "def long():\n" + "    x = 1\n" * 60, "long has 61 lines"),
        (check_docstring, "server/wrong.py", "x = 1\n", "does not begin"),
        (check_lua, "storage/wrong.lua", "-- KEYS none\n-- ARGV none\nreturn 1\n", "-- Returns"),
        (check_lua, "storage/wrong.lua", "-- Says\nlocal x = 1\n" + "x = 2\n" * 60, "has 61 lines of code"),
        (check_places, "docs/wrong.md", "see /" + "work/thing\n", "of one machine"),
        (check_places, "docs/wrong.md", "https://pypi" + ".org/simple\n", "or registry"),
    ],
)  # fmt: skip
def test_each_check_finds_what_it_looks_for(
    *, check: object, place: str, text: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "CHECKOUT", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    wrong = all_of(check, [path])
    assert len(wrong) >= 1 and any(found in sentence for sentence in wrong), wrong


def test_a_dependency_without_a_purpose_is_found() -> None:
    text = '[project]\ndependencies = [\n    "aiohttp==1",\n]\n[dependency-groups]\ndev = ["x==1"]  # tool\n'
    assert len(list(check_dependencies(text))) == 2
