"""Playbooks: register, list, read."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.engine.value import dumps
from noetl.errors import NotFound, UsageError
from noetl.playbook.parse import parse
from noetl.server.answers import answer, body_of, iso, limit_of, raw, runtime_of, text_of

router = APIRouter(prefix="/api/catalog", tags=["catalog"])


@router.post("/register")
async def register(request: Request) -> Response:
    """Register a playbook: `{content, resource_type?}`, YAML or base64 of it. The same content again makes no new version."""
    runtime = runtime_of(request)
    document = await body_of(request)
    if document.get("resource_type", "Playbook") not in ("Playbook", "playbook"):
        raise UsageError(f"resource_type {document['resource_type']!r} is not known", "send Playbook")
    content = _decoded(text_of(document, "content"))
    playbook = await asyncio.to_thread(parse, content, str(document.get("source") or "<playbook>"))
    digest = hashlib.sha256(content.encode()).hexdigest()
    async with runtime.database.transaction() as transaction:
        await transaction.row("lock_path", playbook.path)
        found = await transaction.row("catalog_entry", None, playbook.path, None)
        same = found is not None and found["content_hash"] == digest
        if not same:
            labels = dumps(dict(playbook.labels)).decode()
            found = await transaction.row("register", playbook.path, playbook.name, playbook.description, labels, content, digest)
    assert found is not None
    runtime.loader.forget_newest(playbook.path)
    return answer(
        {
            "status": "success",
            "message": f"playbook {playbook.path} version {found['version']} " + ("is registered already" if same else "registered"),
            "path": playbook.path,
            "version": found["version"],
            "catalog_id": str(found["catalog_id"]),
            "kind": "Playbook",
            "changed": not same,
            "warnings": list(playbook.warnings),
        }
    )


@router.get("")
async def entries(request: Request, path_prefix: str = "", limit: int = 200) -> Response:
    """List the newest version of each path."""
    escaped = path_prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = await runtime_of(request).database.rows("catalog_list", escaped, limit_of(limit))
    return answer({"entries": [{**_entry(row), "kind": row["kind"], "name": row["name"], "versions": row["versions"]} for row in rows]})


@router.get("/versions")
async def versions(request: Request, path: str) -> Response:
    """List the versions of a path, newest first."""
    rows = await runtime_of(request).database.rows("catalog_versions", path)
    if not rows:
        raise unknown(path)
    return answer({"versions": [{**_entry(row), "content_hash": row["content_hash"]} for row in rows]})


@router.get("/entry")
async def entry(request: Request, path: str | None = None, version: int | None = None, catalog_id: int | None = None) -> Response:
    """Return one playbook with its text."""
    if path is None and catalog_id is None:
        raise UsageError("neither path nor catalog_id is given", "GET /api/catalog/entry?path=…")
    row = await runtime_of(request).database.row("catalog_entry", catalog_id, path, version)
    if row is None:
        raise unknown(path or str(catalog_id), version)
    more = {"kind": row["kind"], "name": row["name"], "labels": raw(row["labels"])}
    return answer({**_entry(row), **more, "content": row["content"], "content_hash": row["content_hash"]})


def unknown(path: str, version: int | None = None) -> NotFound:
    """Return the error for a path or version that is not registered."""
    what = f"version {version} of {path}" if version is not None else f"{path}"
    return NotFound(f"there is no playbook {what}", "see: noetl catalog list; register one: noetl catalog register FILE")


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "path": row["path"],
        "version": row["version"],
        "catalog_id": str(row["catalog_id"]),
        "description": row["description"],
        "created_at": iso(row["created_at"]),
    }


def _decoded(content: str) -> str:
    """Return YAML text; base64 of it is told by having no line break and no colon."""
    if "\n" in content.strip() or ":" in content:
        return content
    try:
        return base64.b64decode(content, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return content
