"""The pages that are printed from the code are what the code prints; the README shows the examples as they are."""

import re
from pathlib import Path

import pytest

from rooms import protocol
from server import settings
from server.http import routes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
#: By way of another file: `>` empties a page even when the command fails.
PRINT = "run: .venv/bin/dispatch {} > page.new && mv page.new docs/{}.md"


def test_the_settings_page_is_what_the_settings_say() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings.table(), PRINT.format(
        "settings", "settings"
    )


def test_the_protocol_page_is_what_the_classes_say() -> None:
    assert (ROOT / "docs" / "protocol.md").read_text() == protocol.page(), PRINT.format(
        "protocol", "protocol"
    )


def test_the_http_page_is_what_the_routes_say() -> None:
    assert (ROOT / "docs" / "http.md").read_text() == routes.page(), PRINT.format("routes", "http")


@pytest.mark.parametrize("name", ["driver", "passenger"])
def test_the_readme_shows_the_example_that_is_run(name: str) -> None:
    shown = re.search(rf"<!-- docs/examples/{name}.py -->\n```python\n(.*?)```", README, re.S)
    assert shown is not None
    example = (ROOT / "docs" / "examples" / f"{name}.py").read_text()
    assert shown[1] == example
    code = [line for line in example.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 22


def test_every_file_the_readme_names_is_there() -> None:
    named = set(re.findall(r"\]\(([^)#:]+)\)", README)) | set(
        re.findall(r"(?:docs|rooms|storage|deploy)/[\w/.-]*\w", README)
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_every_dev_command_of_the_readme_is_one() -> None:
    usage = (ROOT / "dev").read_text()
    for command in set(re.findall(r"\./dev (\w+)", README)):
        assert f"./dev {command}" in usage
