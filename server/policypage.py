"""docs/policy.md, printed from `dispatch/policy.py`: the only place that says what an area's policy may hold."""

import ast
import inspect
import textwrap
from typing import Any, Final

import msgspec

from dispatch.policy import Policy

HEAD: Final = """# An area's policy

Printed by `.venv/bin/dispatch policy`; do not edit. A policy is the `policy` of an area's GeoJSON
(`dispatch areas put FILE`), or a JSON file of its own (`dispatch areas policy --area ID --shadow FILE`). What it does
not name has its default; what is unknown or out of range is refused.

| field | unit | default | range | meaning |
|---|---|---|---|---|
"""
#: By the end of a name. What has none of these is a number of things, a share, a factor, or no number.
UNITS: Final = {"_s": "s", "_m": "m", "_mps": "m/s", "_kg": "kg"}


def sentences() -> dict[str, str]:
    """What the string below each field says, by field."""
    body = ast.parse(textwrap.dedent(inspect.getsource(Policy))).body[0]
    assert isinstance(body, ast.ClassDef)
    said: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                said[field.target.id] = text.value
    return said


def page() -> str:
    said, defaults = sentences(), Policy()
    shape = msgspec.json.schema(Policy)["$defs"]["Policy"]["properties"]
    rows = [
        f"| `{name}` | {_unit(name)} | {_shown(getattr(defaults, name))} | {_range(shape[name])} | {said[name]} |"
        for name in Policy.__struct_fields__
    ]
    return HEAD + "\n".join([*rows, ""])


def _unit(name: str) -> str:
    return UNITS.get(f"_{name.rpartition('_')[2]}", "") if "_" in name else ""


def _shown(default: object) -> str:
    return msgspec.json.encode(default).decode()


def _range(shape: dict[str, Any]) -> str:
    if shape["type"] == "boolean":
        return "true, false"
    if shape["type"] == "array":
        return "of " + ", ".join(shape["items"]["enum"])
    return f"{shape['minimum']:,} to {shape['maximum']:,}"
