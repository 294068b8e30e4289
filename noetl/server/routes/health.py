"""Is it alive, can it work, how much does it do."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl import __version__
from noetl.errors import NoetlError
from noetl.server.answers import answer, runtime_of
from noetl.store import migrate

router = APIRouter(tags=["health"])


@router.get("/health")
@router.get("/api/health")
async def health(request: Request) -> Response:
    """Tell that the process is alive. Needs no token."""
    return answer(runtime_of(request).describe())


@router.get("/ready")
@router.get("/api/ready")
async def ready(request: Request) -> Response:
    """Tell whether database, schema and NATS are there; 503 where database or schema is not. Needs no token.

    A schema that has migrations of a later version is good too: while servers are replaced, both work on it.
    """
    runtime = runtime_of(request)
    checks: dict[str, Any] = {}
    started = time.perf_counter()
    try:
        await runtime.database.rows("ping")
        checks["database"] = {"ok": True, "ms": round((time.perf_counter() - started) * 1000, 2)}
        row = await runtime.database.row("migration_count")
        checks["schema"] = {"ok": row is not None and row[0] >= len(migrate.migrations())}
    except NoetlError as error:
        checks["database"] = checks.get("database", {"ok": False, "code": error.code})
        checks["schema"] = {"ok": False}
    checks["nats"] = {"ok": runtime.bus is not None and runtime.bus.connected}
    good = checks["database"]["ok"] and checks["schema"]["ok"] and not runtime.leaving.begun
    return answer({"status": "ready" if good else "not_ready", "checks": checks}, 200 if good else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return the server's figures in Prometheus' text format."""
    runtime = runtime_of(request)
    counts = await runtime.database.row("status_counts")
    assert counts is not None
    lines = [
        _metric("noetl_info", "gauge", "The version that runs.", 1, f'{{version="{__version__}"}}'),
        _metric("noetl_executions_running", "gauge", "Executions that are not finished.", counts["running"]),
        _metric("noetl_commands_waiting", "gauge", "Commands that wait for a worker.", counts["waiting"]),
        _metric("noetl_commands_leased", "gauge", "Commands that a worker holds.", counts["leased"]),
        _metric("noetl_commits_total", "counter", "Commits of this server.", runtime.committer.commits),
        _metric("noetl_inputs_total", "counter", "Inputs committed by this server.", runtime.committer.inputs),
    ]
    pools = await runtime.database.rows("pools")
    for name, text in (
        ("waiting", "Commands that wait, by pool."),
        ("running", "Commands leased, by pool."),
        ("slots", "Slots of ready workers, by pool."),
    ):
        lines.append(f"# HELP noetl_pool_{name} {text}\n# TYPE noetl_pool_{name} gauge")
        lines += [f'noetl_pool_{name}{{pool="{row["pool"]}"}} {row[name]}' for row in pools]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _metric(name: str, kind: str, text: str, value: object, labels: str = "") -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name}{labels} {value}"
