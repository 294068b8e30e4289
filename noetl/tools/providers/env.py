"""Secrets in the environment of the worker."""

from __future__ import annotations

from noetl.tools.access import Access
from noetl.tools.base import Json, ToolError


def read(name: str, access: Access) -> Json:
    """Return a variable that playbooks may read."""
    if name not in access.environ:
        raise ToolError(
            f"playbooks have no environment variable {name}: the worker needs NOETL_PLAYBOOK_ENV={name}, or a NOETL_VAR_ name",
            type="not_found",
        )
    return str(access.environ[name])
