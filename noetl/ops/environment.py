"""Settings as environment variables: how a verb hands them to the processes that it starts, secrets among them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import noetl
from noetl.settings import Settings

_OURS = ("NOETL_HOME", "NOETL_HOST", "NOETL_PORT", "NOETL_SERVER_URL", "NOETL_API_TOKEN", "NOETL_ENCRYPTION_KEY")
_POSTGRES = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")
_PLAYBOOKS = tuple(f"PLAYBOOKS_{name}" for name in _POSTGRES)


def for_child(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process: the inherited one, with what the settings say in place of what it says."""
    kept = {name: value for name, value in inherited.items() if name not in (*_OURS, *_POSTGRES, *_PLAYBOOKS, "NATS_URL")}
    return kept | variables(settings) | {"PYTHONUNBUFFERED": "1"} | _import_path(kept)


def variables(settings: Settings) -> dict[str, str]:
    """Return the variables that `settings.read` turns back into these settings."""
    found: dict[str, str | None] = {
        "NOETL_HOME": str(settings.home),
        "NOETL_HOST": settings.host,
        "NOETL_PORT": str(settings.port),
        "NOETL_SERVER_URL": settings.server_url,
        "NOETL_API_TOKEN": settings.api_token and settings.api_token.reveal(),
        "NOETL_ENCRYPTION_KEY": settings.encryption_key and settings.encryption_key.reveal(),
        "NATS_URL": settings.nats_url and settings.nats_url.reveal(),
        "NOETL_LEASE_SECONDS": str(settings.lease_seconds),
        "NOETL_STEP_TIMEOUT": str(settings.step_timeout),
        "NOETL_STEP_MEMORY": str(settings.step_memory),
        "NOETL_MAX_WORKERS": str(settings.max_workers),
        "NOETL_MAX_RESULT": str(settings.max_result),
        "NOETL_MAX_REQUEST": str(settings.max_request),
        "NOETL_LOG_FORMAT": settings.log_format,
        "NOETL_LOG_SIZE": str(settings.log_size),
        "NOETL_LOG_COUNT": str(settings.log_count),
    }
    for names, database in ((_POSTGRES, settings.postgres), (_PLAYBOOKS, settings.playbooks)):
        if database:
            values = (database.host, str(database.port), database.database, database.user, database.password.reveal())
            found |= dict(zip(names, values, strict=True))
    if settings.playbook_env:
        found |= dict(settings.playbook_env)
        found["NOETL_PLAYBOOK_ENV"] = ",".join(settings.playbook_env)
    return {name: value for name, value in found.items() if value is not None}


def _import_path(inherited: Mapping[str, str]) -> dict[str, str]:
    """Let a child import the same noetl as this process, also where it is no installed one."""
    folder = Path(noetl.__file__).parent.parent
    if folder.name in ("site-packages", "dist-packages"):
        return {}
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [inherited.get("PYTHONPATH")])])}
