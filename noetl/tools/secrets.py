"""The `secrets` tool: a secret as a step's result. It is masked in what the step prints and in its errors, not in the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from noetl.tools.base import Call, Json, ToolError


def run(call: Call) -> Json:
    """Return `{value: …}` of the secret that the config names."""
    provider = str(call.config.get("provider") or "env").lower()
    if provider not in _PROVIDERS:
        raise ToolError(f"there is no provider {provider!r} of secrets; there is {', '.join(_PROVIDERS)}", type="config")
    name = str(call.config.get("name") or "")
    value = _PROVIDERS[provider](name, call)
    call.secrets.add(value)
    return {"value": value}


def _of_environment(name: str, call: Call) -> str:
    return of_environment(name, call.scope.get("env"))


def of_environment(name: str, env: Json) -> str:
    """Return a variable of the worker's environment that playbooks may read."""
    if not name:
        raise ToolError("there is no name of a secret: give name", type="config")
    if not isinstance(env, Mapping) or name not in env:
        raise ToolError(
            f"playbooks have no environment variable {name}: the worker needs NOETL_PLAYBOOK_ENV={name}, or a NOETL_VAR_ name",
            type="not_found",
        )
    return str(env[name])


_PROVIDERS: Mapping[str, Callable[[str, Call], str]] = {"env": _of_environment}
