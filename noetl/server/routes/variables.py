"""An execution's variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.engine.turn import MAX_VARIABLE
from noetl.engine.value import dumps
from noetl.errors import NotFound, TooLarge, UsageError
from noetl.playbook.check import NAME_LENGTH
from noetl.playbook.steps import MAX_VARIABLES
from noetl.server.answers import answer, body_of, id_of, iso, mapping_of, raw, runtime_of

router = APIRouter(prefix="/api/vars", tags=["variables"])
TYPES = ("user_defined", "step_result", "computed", "iterator_state")


@router.get("/{execution_id}")
async def variables(request: Request, execution_id: str) -> Response:
    """Return all variables of an execution."""
    rows = await runtime_of(request).database.rows("variables", id_of(execution_id))
    return answer(_document(execution_id, rows))


@router.get("/{execution_id}/{name}")
async def variable(request: Request, execution_id: str, name: str) -> Response:
    """Return one variable, and count the access."""
    rows = await runtime_of(request).database.rows("variable_read", id_of(execution_id), name)
    if not rows:
        raise NotFound(f"execution {execution_id} has no variable {name}", f"see: GET /api/vars/{execution_id}")
    return answer(_document(execution_id, rows))


@router.post("/{execution_id}")
async def store(request: Request, execution_id: str) -> Response:
    """Store variables: `{variables: {name: value}, var_type?, source_step?}`."""
    runtime = runtime_of(request)
    document = await body_of(request)
    given = mapping_of(document, "variables")
    kind = document.get("var_type") or "user_defined"
    if kind not in TYPES:
        raise UsageError(f"var_type {kind!r} is not known", f"use one of {', '.join(TYPES)}")
    eid = id_of(execution_id)
    texts = [_checked(name, dumps(value)) for name, value in given.items()]
    async with runtime.database.transaction() as transaction:
        if await transaction.row("touch_execution", eid) is None:
            raise NotFound(f"there is no execution {execution_id}", "see: noetl execution list")
        await transaction.rows("variable_write", eid, list(given), texts, kind, document.get("source_step"))
        kept = await transaction.rows("variables", eid)
        if len(kept) > MAX_VARIABLES:
            message = f"execution {execution_id} would have {len(kept):,} variables; at most {MAX_VARIABLES:,} are possible"
            raise TooLarge(message, "keep what belongs together in one variable, an object")
    runtime.committer.forget(eid)
    return await variables(request, execution_id)


@router.delete("/{execution_id}")
@router.delete("/{execution_id}/{name}")
async def delete(request: Request, execution_id: str, name: str | None = None) -> Response:
    """Delete one variable, or all of them."""
    runtime = runtime_of(request)
    eid = id_of(execution_id)
    async with runtime.database.transaction() as transaction:
        await transaction.row("touch_execution", eid)
        rows = await transaction.rows("variable_delete", eid, name)
    runtime.committer.forget(eid)
    if name is not None and not rows:
        raise NotFound(f"execution {execution_id} has no variable {name}", f"see: GET /api/vars/{execution_id}")
    return answer({"execution_id": execution_id, "deleted": [row["name"] for row in rows], "count": len(rows)})


def _checked(name: str, raw: bytes) -> str:
    """Return a variable's JSON text; refuse what no variable may be."""
    if not name or len(name) > NAME_LENGTH:
        raise UsageError(f"a variable's name has {len(name):,} characters", f"it has to have 1 to {NAME_LENGTH}")
    if len(raw) > MAX_VARIABLE:
        message = f"the variable {name} would have {len(raw):,} bytes; at most {MAX_VARIABLE:,} are possible"
        raise TooLarge(message, "put the data into a file or a table, and keep its name")
    return raw.decode()


def _document(execution_id: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found = {
        row["name"]: {
            "value": raw(row["value"]),
            "type": row["type"],
            "source_step": row["source_step"],
            "created_at": iso(row["created_at"]),
            "accessed_at": iso(row["accessed_at"]),
            "access_count": row["access_count"],
        }
        for row in rows
    }
    return {"execution_id": execution_id, "variables": found, "count": len(found)}
