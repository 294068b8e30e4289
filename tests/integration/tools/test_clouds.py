"""Secrets, scripts and objects in clouds, against a stand-in that checks signatures and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cloud as clouds
import orjson
import pytest
from outcomes import value

from noetl.tools.access import Access
from noetl.tools.base import ToolError
from noetl.tools.providers import azure
from noetl.worker.sandbox import Failed


@pytest.fixture
async def cloud(bench: Any) -> AsyncIterator[clouds.Cloud]:
    async with clouds.running() as one:
        bench.credentials |= {
            "aws": {**clouds.AWS, "endpoint": f"{one.url}/aws"},
            "s3": {**clouds.AWS, "endpoint": f"{one.url}/s3"},
            "gcp": one.service_account,
            "wrapped": {"service_account_json": orjson.dumps(one.service_account).decode(), "endpoint": f"{one.url}/google"},
            "azure": {
                "tenant_id": "t1",
                "client_id": "app",
                "client_secret": "canary-azure",
                "authority": f"{one.url}/azure",
                "vault_url": f"{one.url}/azure",
            },
            "vault": {"url": f"{one.url}/vault", "token": "canary-vault"},
        }
        yield one


@pytest.mark.parametrize(
    ("provider", "auth", "name", "more", "expected"),
    [
        ("aws", "aws", "plain", {}, "canary-plain"),
        ("aws", "aws", "app/db#password", {"version": "AWSPREVIOUS"}, "canary-password"),
        ("aws", "aws", "binary", {}, "canary-bytes"),
        ("gcp", "gcp", "plain", {}, "canary-plain"),
        ("google", "wrapped", "projects/p1/secrets/plain", {}, "canary-plain"),
        ("gcp", "gcp", "plain", {"version": 1}, "canary-old plain"),
        ("azure", "azure", "plain", {}, "canary-plain"),
        ("vault", "vault", "secret/app#password", {}, "canary-new"),
        ("vault", "vault", "secret/data/one", {}, "canary-one"),
        ("vault", "vault", "secret/app", {}, {"password": "canary-new", "user": "u"}),
        ("vault", "vault", "old/app#password", {"kv_version": 1}, "canary-first"),
    ],
)
@pytest.mark.usefixtures("cloud")
async def test_secrets(bench: Any, provider: str, auth: str, name: str, more: dict[str, Any], expected: Any) -> None:
    outcome = await bench.run("secrets", {"provider": provider, "auth": auth, "name": name, **more})
    assert value(outcome) == {"value": expected}


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({"provider": "aws", "auth": "aws", "name": "none"}, "not_found", "no secret none from aws: HTTP 400"),
        ({"provider": "aws", "auth": {**clouds.AWS, "secret_access_key": "wrong"}, "name": "plain"}, "http_status", "no secret plain"),
        ({"provider": "aws", "auth": {"region": "r"}, "name": "plain"}, "config", "there are no keys for AWS: give auth"),
        ({"provider": "gcp", "auth": "gcp", "name": "none"}, "not_found", "no secret none from gcp: HTTP 404"),
        (
            {"provider": "gcp", "auth": {"client_email": "a", "private_key": "b", "project_id": "p"}, "name": "n"},
            "config",
            "private_key of",
        ),
        (
            {"provider": "azure", "auth": {"vault_url": "http://127.0.0.1:1", "tenant_id": "t"}, "name": "n"},
            "config",
            "no client_id and no",
        ),
        ({"provider": "azure", "auth": {}, "name": "n"}, "config", "the key vault is not known: give vault_url"),
        ({"provider": "vault", "auth": {"token": "t"}, "name": "n"}, "config", "the address of Vault is not known: give url"),
        ({"provider": "vault", "auth": "vault", "name": "old/app"}, "not_found", "no secret old/app from vault"),
        ({"provider": "vault", "auth": "vault", "name": "secret/one#none"}, "not_found", "the secret secret/one has no field none"),
    ],
)
async def test_what_there_is_not(bench: Any, cloud: clouds.Cloud, config: dict[str, Any], kind: str, message: str) -> None:
    if isinstance(config["auth"], dict) and "access_key_id" in config["auth"]:
        config["auth"]["endpoint"] = f"{cloud.url}/aws"
    outcome = await bench.run("secrets", config)
    assert isinstance(outcome, Failed)
    assert outcome.error["type"] == kind
    assert message in outcome.error["message"]
    assert "canary" not in str(outcome)


async def test_azure_without_a_credential_is_asked_as_the_machine(cloud: clouds.Cloud) -> None:
    environ = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url, "AZURE_CLIENT_ID": "identity"}
    access = Access({"endpoint": f"{cloud.url}/azure"}, {}, set(), environ)
    before = cloud.tokens
    assert [await asyncio.to_thread(azure.read, "plain", access) for _ in range(2)] == ["canary-plain"] * 2
    assert cloud.tokens == before + 1
    assert "canary-azure-token" in access.secrets
    unknown = Access(access.config, {}, set(), {**environ, "AZURE_CLIENT_ID": "another"})
    with pytest.raises(ToolError, match=r"this machine has no managed identity .*give auth"):
        await asyncio.to_thread(azure.read, "plain", unknown)


async def test_the_keychain_asks_the_same_providers_and_is_masked(bench: Any, cloud: clouds.Cloud) -> None:
    cloud.secrets["db"] = cloud.secrets["app/db"]
    names = {"password": "db#password", "plain": "plain"}
    keychain = ({"name": "store", "kind": "secret_manager", "config": {"provider": "gcp", "auth": "gcp", "map": names}},)
    code = "print(p); result = {'seen': p, 'length': len(p), 'other': q}"
    args = {"p": "{{ keychain.store.password }}", "q": "{{ keychain.store.plain }}"}
    outcome = await bench.run("python", {"code": code}, args=args, keychain=keychain)
    assert value(outcome) == {"seen": "***", "length": 15, "other": "***"}
    assert cloud.tokens == 1


async def test_scripts_from_buckets(bench: Any, cloud: clouds.Cloud) -> None:
    cloud.objects |= {"b/jobs/a job+1.py": b"def main(a):\n    return a + 1\n", "b/q.sql": b"SELECT {{ n }} AS n"}
    for kind, uri, auth in (("s3", "s3://b/jobs/a job+1.py", "s3"), ("gcs", "gs://b/jobs/a job+1.py", "gcp")):
        script = {"uri": uri, "source": {"type": kind, "auth": auth}}
        assert value(await bench.run("python", {"script": script}, args={"a": 1})) == 2
    script = {"uri": "s3://b/q.sql", "source": {"type": "s3", "auth": "s3"}}
    assert value(await bench.run("duckdb", {"script": script, "database": ":memory:"}, scope={"n": 3})) == [{"n": 3}]
    for uri, status in (("s3://b/none", 404), ("s3://none/none", 404)):
        assert (await bench.run("python", {"script": {"uri": uri, "source": {"type": "s3", "auth": "s3"}}})).error["status"] == status
    outcome = await bench.run("python", {"script": {"uri": "b/none", "source": {"type": "gcs", "auth": "gcp"}}})
    assert "write gs://BUCKET/NAME" in outcome.error["message"]


async def test_a_file_is_uploaded(bench: Any, cloud: clouds.Cloud, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n" * 500_000)
    config = {"source": str(path), "destination": "gs://b/out/", "credential": "gcp"}
    result = value(await bench.run("gcs", config))
    assert result == {
        "status": "success",
        "uri": "gs://b/out/rows.csv",
        "bucket": "b",
        "name": "out/rows.csv",
        "size": 2_000_000,
        "generation": "7",
    }
    assert (cloud.objects["b/out/rows.csv"], cloud.types["b/out/rows.csv"]) == (path.read_bytes(), "text/csv")
    outcome = await bench.run("gcs", {**config, "source": str(tmp_path / "none")})
    assert "which is no file" in outcome.error["message"]


async def test_a_sink_uploads_its_data(bench: Any, cloud: clouds.Cloud) -> None:
    config = {"destination": "gs://b/{{ data.id }}.json", "auth": "gcp"}
    sink = {"data": {"id": "{{ result.id }}", "text": "ü"}, "has_data": True}
    outcome = await bench.run("gcs", config, sink=sink, scope={"this": {"id": 7}})
    assert value(outcome)["name"] == "7.json"
    assert orjson.loads(cloud.objects["b/7.json"]) == {"id": 7, "text": "ü"}
    assert cloud.types["b/7.json"] == "application/json"
