"""Secrets in the environment of the worker."""

from __future__ import annotations

from noetl.tools.access import Access
from noetl.tools.base import Json, ToolError


def read(name: str, access: Access) -> Json:
    """Return a variable that playbooks may read."""
    if name not in access.environ:
        wanted = f"the worker needs NOETL_PLAYBOOK_ENV={name}, or a NOETL_VAR_ name"
        if name.startswith("NOETL_VAR_"):
            wanted = "set it where the worker is started, and start the worker again"
        raise ToolError(f"playbooks have no environment variable {name}: {wanted}", type="not_found")
    return str(access.environ[name])
