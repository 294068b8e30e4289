"""Credentials: stored encrypted, shown without their data unless it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.engine.value import dumps
from noetl.errors import NotFound, UsageError
from noetl.playbook.check import NAME_LENGTH
from noetl.server.answers import answer, body_of, iso, mapping_of, raw, runtime_of, text_of

router = APIRouter(prefix="/api/credentials", tags=["credentials"])
PLAYBOOKS = "@playbooks"
"""The name under which workers find the platform's database for playbooks."""


@router.post("")
async def store(request: Request) -> Response:
    """Store a credential, or replace it: `{name, type, data, meta?, tags?, description?}`."""
    runtime = runtime_of(request)
    document = await body_of(request)
    name, kind = text_of(document, "name"), text_of(document, "type")
    if "/" in name:
        raise UsageError(f"the name {name!r} has a slash, and is part of an address", f"call it {name.replace('/', '-')}")
    if len(name) > NAME_LENGTH:
        raise UsageError(f"the name has {len(name):,} characters", f"a credential's name has at most {NAME_LENGTH}")
    sealed = runtime.vault.encrypt(name, mapping_of(document, "data"))
    meta = dumps(mapping_of(document, "meta")).decode()
    tags = document.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UsageError("tags is no list of texts", 'send {"tags": ["…"]}')
    await runtime.database.run("credential_write", name, kind, sealed, meta, tags, str(document.get("description") or ""))
    return answer({"status": "success", "name": name, "type": kind})


@router.get("")
async def credentials(request: Request) -> Response:
    """List the credentials, without their data."""
    rows = await runtime_of(request).database.rows("credentials")
    return answer({"credentials": [_document(row) for row in rows], "count": len(rows)})


@router.get("/{name}")
async def credential(request: Request, name: str, include_data: bool = False) -> Response:
    """Return a credential; its data only with `include_data=true`."""
    runtime = runtime_of(request)
    if name == PLAYBOOKS and runtime.playbooks is not None:
        found = runtime.playbooks
        data = {
            "db_host": found.host,
            "db_port": found.port,
            "db_user": found.user,
            "db_name": found.database,
            "db_password": found.password.reveal(),
        }
        return answer({"name": name, "type": "postgres", **({"data": data} if include_data else {})})
    if name == PLAYBOOKS:
        raise NotFound(
            "there is no database for playbooks: give the step `auth`, or the server PLAYBOOKS_POSTGRES_HOST",
            "its others are PLAYBOOKS_POSTGRES_PORT, …_DB, …_USER and …_PASSWORD",
        )
    row = await runtime.database.row("credential", name)
    if row is None:
        raise NotFound(f"there is no credential {name}", f"store it: noetl credential set {quote(name)} --type TYPE --file FILE")
    return answer({**_document(row), **({"data": runtime.vault.decrypt(name, row["data"])} if include_data else {})})


@router.delete("/{name}")
async def delete(request: Request, name: str) -> Response:
    """Delete a credential."""
    if await runtime_of(request).database.row("credential_delete", name) is None:
        raise NotFound(f"there is no credential {name}", "see: noetl credential list")
    return answer({"status": "success", "name": name})


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        "type": row["type"],
        "meta": raw(row["meta"]),
        "tags": row["tags"],
        "description": row["description"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }
