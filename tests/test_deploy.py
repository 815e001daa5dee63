"""The container files, as far as they can be judged without an engine: their own linters, and what those do not see.

The two scripts of deploy/ are run for real: the database's, against a private PostgreSQL; the secrets', with a
`docker` that only writes down what it was asked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml

from server.devstack import find
from tests.stack import RunningStack
from tests.support import CHECKOUT, fresh_database, with_database

COMPOSE = CHECKOUT / "docker-compose.yml"
DEV_COMPOSE = CHECKOUT / "deploy" / "compose.dev.yml"
DOCKERFILE = CHECKOUT / "Dockerfile"
TOOLS = Path(sys.executable).parent
SECRET_NAME = re.compile(r"(?i)pass|secret|token|key|url")


def checked(path: Path) -> dict[str, Any]:
    """The file as YAML reads it; every check below works on this."""
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return checked(COMPOSE)


def run(*argv: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False, **more)


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run(TOOLS / "hadolint", DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_compose_files_follow_the_schema() -> None:
    done = run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE, DEV_COMPOSE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [COMPOSE, DEV_COMPOSE], ids=lambda path: path.name)
def test_compose_reads_it(path: Path) -> None:
    """With the real program where there is one; where there is none, the checks below stand alone."""
    plugin = shutil.which("docker-compose")
    has_plugin = shutil.which("docker") and run("docker", "compose", "version").returncode == 0
    if not plugin and not has_plugin:
        return
    words = ["docker", "compose"] if has_plugin else ["docker-compose"]
    done = run(*words, "-f", path, "config", "-q", env=os.environ | {"DEV_PASSWORD": "x"})
    assert done.returncode == 0, done.stderr


def undefined(compose: dict[str, Any]) -> list[str]:
    """Names that are used and defined nowhere: services, volumes, networks, secrets."""
    wrong = []
    services = compose["services"]
    for name, service in services.items():
        wrong += [
            f"{name} depends on {other}" for other in service.get("depends_on", {}) if other not in services
        ]
        for kind in ("secrets", "networks"):
            wrong += [
                f"{name} uses {kind} {one}"
                for one in service.get(kind, [])
                if one not in compose.get(kind, {})
            ]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                wrong += (
                    [] if (CHECKOUT / source).exists() else [f"{name} mounts {source}, which is not there"]
                )
            elif source not in compose.get("volumes", {}):
                wrong.append(f"{name} uses volume {source}")
    return wrong


def unused(compose: dict[str, Any]) -> list[str]:
    text = COMPOSE.read_text()
    kinds = ("secrets", "networks", "volumes")
    return [
        one for kind in kinds for one in compose.get(kind, {}) if len(re.findall(rf"\b{one}\b", text)) < 2
    ]


def test_everything_used_is_defined_and_everything_defined_is_used(compose: dict[str, Any]) -> None:
    assert undefined(compose) == []
    assert unused(compose) == []


def test_undefined_names_would_be_found() -> None:
    wrong = {
        "services": {"a": {"depends_on": {"b": {}}, "secrets": ["s"], "networks": ["n"], "volumes": ["v:/v"]}}
    }
    assert len(undefined(wrong)) == 4


def test_every_variable_has_a_default_or_must_be_set() -> None:
    """A bare ${NAME} that nobody sets becomes an empty string without a word."""
    for path in (COMPOSE, DEV_COMPOSE):
        names = re.findall(r"(?<!\$)\$\{?(\w+)([^}\"]*)", path.read_text())
        assert all(rest.startswith((":-", ":?")) for _, rest in names), names


def test_every_service_says_whether_it_is_healthy(compose: dict[str, Any]) -> None:
    waited_for = [
        other
        for service in compose["services"].values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    ]
    for name, service in {**compose["services"], **checked(DEV_COMPOSE)["services"]}.items():
        check = service["healthcheck"]
        assert "test" in check or (name in waited_for and check["disable"]), name
    assert "HEALTHCHECK" in DOCKERFILE.read_text()


def test_whoever_waits_waits_until_it_works(compose: dict[str, Any]) -> None:
    conditions = [
        how["condition"]
        for service in compose["services"].values()
        for how in service.get("depends_on", {}).values()
    ]
    assert conditions
    assert set(conditions) <= {"service_healthy", "service_completed_successfully"}


def test_only_the_server_is_reachable_and_only_on_loopback(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert list(published) == ["server"]
    assert published["server"] == ["${DISPATCH_PUBLISH:-127.0.0.1:8080}:8080"]
    assert compose["networks"]["data"] == {"internal": True}


def test_the_image_runs_as_nobody_in_particular(compose: dict[str, Any]) -> None:
    last_stage = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    users = re.findall(r"^USER (\S+)", last_stage, re.MULTILINE)
    assert users == ["10001:10001"]
    assert last_stage.index("\nUSER ") > last_stage.rindex("\nRUN ")
    for name in ("server", "drain", "migrate"):
        service = compose["services"][name]
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
        assert "no-new-privileges:true" in service["security_opt"]
        assert not {"user", "privileged", "cap_add"} & set(service)


def test_the_image_is_built_from_the_lock_with_hashes() -> None:
    text = DOCKERFILE.read_text()
    assert "--require-hashes" in text and "--constraint requirements.lock" in text
    assert text.count("\nFROM ") == 2


def test_the_image_has_what_the_floors_need_and_no_more() -> None:
    copied = re.findall(r"^COPY (\w+) \w+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert set(copied) == {"server", "rooms", "dispatch", "storage"}
    kept = {
        line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert kept == {*copied, "pyproject.toml", "requirements.lock", "deploy/health.py"}


def plain_secrets(compose: dict[str, Any]) -> list[str]:
    """Settings that hold what should stand in a file: only a path, or a variable that must be set, is none."""
    wrong = []
    for name, service in compose["services"].items():
        command = service.get("command", [])
        values = [*service.get("environment", {}).items(), *pairwise(command)]
        for key, value in values:
            if SECRET_NAME.search(str(key)) and not re.fullmatch(
                r"/run/secrets/\w+|\$\{\w+:\?\}", str(value)
            ):
                wrong.append(f"{name}: {key}")
        if re.search(r"://[^/\s]*:[^/\s]+@", str(service)):
            wrong.append(f"{name}: a URL with a password")
    return wrong


def test_no_secret_stands_in_plain_text(compose: dict[str, Any]) -> None:
    for secret in compose["secrets"].values():
        assert set(secret) == {"file"} and secret["file"].startswith("./deploy/secrets/")
    assert "secrets/" in (CHECKOUT / "deploy" / ".gitignore").read_text().split()
    assert plain_secrets(compose) == []
    assert plain_secrets(checked(DEV_COMPOSE)) == []
    assert not re.search(r"(ENV|ARG)[^\n]*(PASS|SECRET|TOKEN|KEY)", DOCKERFILE.read_text())


def test_a_secret_in_plain_text_would_be_found() -> None:
    service = {
        "environment": {"POSTGRES_PASSWORD": "hunter2", "X_URL": "${MAYBE:-x}", "Y": "a://b:c@d"},
        "command": ["redis-server", "--requirepass", "hunter2"],
    }
    assert len(plain_secrets({"services": {"a": service}})) == 4


@pytest.fixture
def fake_docker(tmp_path: Path) -> Path:
    """A folder with a `docker` that writes the key ring as the image would, and each call into a file."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\necho "$@" >>"$CALLS"\ncase "$1" in run) echo "{}" >"$(pwd)/keys.json" ;; esac\n'
    )
    program.chmod(0o755)
    return program.parent


def test_the_secrets_are_made_once_and_fit_the_compose_file(
    compose: dict[str, Any], fake_docker: Path, tmp_path: Path
) -> None:
    script = tmp_path / "deploy" / "make-secrets"
    script.parent.mkdir()
    shutil.copy(CHECKOUT / "deploy" / "make-secrets", script)
    env = os.environ | {"PATH": f"{fake_docker}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    done = run(script, env=env)
    assert done.returncode == 0, done.stderr
    folder = script.parent / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    first = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(first) == {Path(secret["file"]).name for secret in compose["secrets"].values()}
    database, redis = urlsplit(first["database_url"]), urlsplit(first["redis_url"])
    assert (database.hostname, redis.hostname) == ("postgis", "redis")
    assert database.password == first["dispatch_password"] and len(first["dispatch_password"]) == 48
    assert redis.password == first["redis_password"] and first["redis_password"] not in first["redis_acl"]
    assert len({first["dispatch_password"], first["postgres_password"], first["redis_password"]}) == 3
    calls = (tmp_path / "calls").read_text()
    assert "keys init" in calls and "build server" in calls
    assert run(script, env=env).returncode == 0
    assert {file.name: file.read_text() for file in folder.iterdir()} == first
    assert (tmp_path / "calls").read_text() == calls


def test_without_compose_no_secret_is_made(fake_docker: Path, tmp_path: Path) -> None:
    script = tmp_path / "deploy" / "make-secrets"
    script.parent.mkdir()
    shutil.copy(CHECKOUT / "deploy" / "make-secrets", script)
    (fake_docker / "docker").write_text("#!/bin/sh\necho unknown shorthand flag: f >&2\nexit 125\n")
    done = run(script, env=os.environ | {"PATH": f"{fake_docker}:{os.environ['PATH']}"})
    assert done.returncode == 1
    assert "docker compose" in done.stderr and "shorthand" not in done.stderr
    assert not (script.parent / "secrets").exists()


def healthy(what: str, **env: str) -> bool:
    health = CHECKOUT / "deploy" / "health.py"
    return run(sys.executable, health, what, env={**os.environ, **env}).returncode == 0


async def test_without_postgresql_nobody_is_restarted(stack: RunningStack) -> None:
    nowhere = "postgresql://app@127.0.0.1:1/none"
    assert healthy("drain", DISPATCH_DATABASE_URL=nowhere), "it waits"
    port = stack.url.rpartition(":")[2]
    assert healthy("serve", DISPATCH_PORT=port) and not healthy("serve", DISPATCH_PORT="1")


async def test_the_drain_is_healthy_while_it_moves_its_cursors(database_url: str) -> None:
    def at_work() -> bool:
        return healthy("drain", DISPATCH_DATABASE_URL=database_url)

    connection = await asyncpg.connect(database_url)
    try:
        assert not at_work(), "no drain has ever been there"
        await connection.execute("insert into drain_cursors (shard, stream) values ('main', 'facts')")
        assert at_work(), "it waits for the first entry"
        await connection.execute("update drain_cursors set reached_at = now()")
        assert at_work(), "it is at work"
        await connection.execute("update drain_cursors set updated_at = now() - interval '1 minute'")
        assert not at_work(), "it has fallen silent"
    finally:
        await connection.close()


async def test_the_database_script_makes_a_role_that_owns_only_its_database(tmp_path: Path) -> None:
    secret = tmp_path / "dispatch_password"
    secret.write_text('it\'s "a" password')
    original = (CHECKOUT / "deploy" / "postgres" / "20-dispatch.sh").read_text()
    with fresh_database(template=False) as url:
        mark = urlsplit(url).path.removeprefix("/")
        # Roles are the cluster's: under names of this test, beside whatever else runs in it.
        text = original.replace("/run/secrets/dispatch_password", str(secret)).replace(
            "--dbname postgres", f'"{url}"'
        )
        text = re.sub(r"(ROLE|DATABASE|OWNER|connect|TO) dispatch\b", rf"\1 x_{mark}", text)
        text = text.replace('--username "$POSTGRES_USER" ', "")
        assert text.count(f"x_{mark}") == 5
        postgres = find.find_or_install(redis=False).postgres
        path = f"{postgres.path}:{os.environ['PATH']}"
        done = run("sh", "-c", text, env={**os.environ, **postgres.env, "PATH": path})
        assert done.returncode == 0, done.stderr
        connection = await asyncpg.connect(with_database(url, f"x_{mark}"))
        try:
            role = await connection.fetchrow(
                "select rolsuper, rolcreaterole, rolcreatedb, rolpassword from pg_authid where rolname = $1",
                f"x_{mark}",
            )
            assert role is not None and role["rolpassword"].startswith("SCRAM-SHA-256$")
            assert not any((role["rolsuper"], role["rolcreaterole"], role["rolcreatedb"]))
            assert await connection.fetchval("select postgis_version()")
        finally:
            await connection.close()
        admin = await asyncpg.connect(url)
        try:
            await admin.execute(f"DROP DATABASE x_{mark} WITH (FORCE)")
            await admin.execute(f"DROP ROLE x_{mark}")
        finally:
            await admin.close()
