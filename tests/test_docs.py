"""The pages that are printed from the code are what the code prints; the README shows the examples as they are."""

import re
from pathlib import Path

import pytest

from dispatch.policy import Policy
from rooms import protocol
from server import policypage, settings
from server.devstack.bench import benches
from server.http import routes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
#: By way of another file: `>` empties a page even when the command fails.
PRINT = "run: .venv/bin/dispatch {} > page.new && mv page.new docs/{}.md"


def test_the_settings_page_is_what_the_settings_say() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings.table(), PRINT.format(
        "settings", "settings"
    )


def test_the_policy_page_is_what_the_policy_says() -> None:
    assert (ROOT / "docs" / "policy.md").read_text() == policypage.page(), PRINT.format("policy", "policy")


def test_every_rule_has_its_sentence() -> None:
    said = policypage.sentences()
    assert set(said) == set(Policy.__struct_fields__)
    assert all(each.endswith((".", "?")) and "\n" not in each for each in said.values())


def test_the_protocol_page_is_what_the_classes_say() -> None:
    assert (ROOT / "docs" / "protocol.md").read_text() == protocol.page(), PRINT.format(
        "protocol", "protocol"
    )


def test_the_http_page_is_what_the_routes_say() -> None:
    assert (ROOT / "docs" / "http.md").read_text() == routes.page(), PRINT.format("routes", "http")


@pytest.mark.parametrize("name", ["driver.py", "passenger.py", "passenger.mjs"])
def test_the_readme_shows_the_example_that_is_run(name: str) -> None:
    shown = re.search(rf"<!-- docs/examples/{name} -->\n```\w+\n(.*?)```", README, re.S)
    assert shown is not None
    example = (ROOT / "docs" / "examples" / name).read_text()
    assert shown[1] == example
    code = [line for line in example.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 25


def test_the_readme_leads_to_every_page() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"\]\(([^)#:]+)\)", README))


def test_every_bench_has_its_line_and_no_other() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert set(re.findall(r"^\| `./dev bench (\w+)", page, re.M)) == {each.name for each in benches()}


def test_words_stand_in_order_one_line_each() -> None:
    lines = (ROOT / "docs" / "words.md").read_text().splitlines()[4:]
    words = [re.match(r"- \*\*([\w ]+)\*\*(?: \(.*?\))?: ", line) for line in lines]
    assert all(words) and [word[1] for word in words if word] == sorted(word[1] for word in words if word)


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
