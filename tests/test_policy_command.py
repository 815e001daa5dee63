"""`dispatch areas policy`: what it prints, what it refuses, and that a node takes up what it says."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from server.areas import area_of
from storage.areas import AreaRow
from tests.test_cli import area, environment, rows, run, shell

__all__ = ["environment", "shell"]


async def test_tried_promoted_and_taken_back(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("areas", "put", area(tmp_path, policy={"offer_s": 12})) == 0
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"offer_s": 9}))
    policy = ("areas", "policy", "--area", "demo")
    for words, told in (
        (("--promote",), "no shadow to promote"),
        (("--rollback",), "no policy that held before"),
        (("--shadow", str(file)), "Policy 2 of demo runs in shadow"),
        ((), '2  '),
        (("--promote",), "Policy 2 of demo holds"),
        (("--rollback",), "Policy 1 of demo holds"),
        (("--shadow", str(file)), "Policy 3"),
        (("--drop-shadow",), "Policy 1 of demo holds"),
    ):  # fmt: skip
        code = run(*policy, *words)
        out, error = capsys.readouterr()
        assert told in (error if code else out) and (code == 1) == bool(error), (words, out, error)
    assert run(*policy) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        [line.split()[0] for line in lines] == ["3", "2", "1"]
        and "holds" in lines[2]
        and '{"offer_s":9}' in lines[1]
    )
    done = await rows(
        shell,
        "select action, subject_id, details from audit_log where action like 'areas policy%' order by at",
    )
    assert [(r["action"].split()[-1], json.loads(r["details"])["version"]) for r in done] == [
        ("shadow", 2), ("promote", 2), ("rollback", 1), ("shadow", 3), ("drop_shadow", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["no json", "[]", '{"offer_s": -1}', '{"ofer_s": 1}'])
def test_what_is_no_policy_is_refused(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert run("areas", "put", area(tmp_path)) == 0
    file = tmp_path / "policy.json"
    file.write_text(text)
    assert run("areas", "policy", "--area", "demo", "--shadow", str(file)) == 1
    assert run("areas", "policy", "--area", "nowhere", "--rollback") == 1
    assert run("areas", "policy", "--area", "nowhere") == 1
    assert capsys.readouterr().err.count("\n") == 3


async def test_a_rule_that_is_gone_cannot_come_back(shell: str, tmp_path: Path) -> None:
    assert run("areas", "put", area(tmp_path)) == 0
    await rows(shell, "update areas set policy = '{\"old_rule\": 1}'")
    assert run("areas", "put", area(tmp_path)) == 0
    assert run("areas", "policy", "--area", "demo", "--rollback") == 1
    assert await rows(shell, "select policy_version from areas") == [{"policy_version": 3}]


def test_a_shadow_that_nobody_understands_keeps_nobody_from_the_area(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = [[36.0, 49.9], [36.1, 49.9], [36.1, 50.0], [36.0, 49.9]]
    row = AreaRow(
        id="a", name="A", shard="s", polygon={"type": "Polygon", "coordinates": [ring]}, policy={}, prices={},
        currency="EUR", paused=False, version=3, policy_version=2, shadow_version=4, shadow={"offer_s": 3},
    )  # fmt: skip
    found = area_of(row)
    assert (found.policy_version, found.shadow_version) == (2, 4)
    assert found.shadow is not None and found.shadow.offer_s == 3
    found = area_of(msgspec.structs.replace(row, shadow={"old_rule": 1}))
    assert (found.shadow, found.shadow_version) == (None, 0) and "without its shadow" in caplog.text
