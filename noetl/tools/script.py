"""Code that a step names instead of holding it: its `script` field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from noetl.tools.base import Json, ToolError

_LARGEST = 16 * 1024**2


def load(script: Json) -> str:
    """Return the text of a script; a relative `uri` is below the folder in which the worker was started."""
    if not isinstance(script, Mapping) or not isinstance(script.get("uri"), str) or not script["uri"]:
        raise ToolError("script needs a uri, the path of a file: script: {uri: ./job.py, source: {type: file}}", type="config")
    source = script.get("source") or {}
    kind = source.get("type", "file") if isinstance(source, Mapping) else source
    if kind != "file":
        raise ToolError(f"script has the source {kind!r}; this version loads scripts from a file", type="config")
    path = Path(script["uri"].removeprefix("file://"))
    try:
        if path.stat().st_size > _LARGEST:
            raise ToolError(f"the script {path} is larger than {_LARGEST // 1024**2} MiB", type="config")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ToolError(f"the script {path.absolute()} cannot be read: {error.strerror}", type="script") from error
    except UnicodeDecodeError as error:
        raise ToolError(f"the script {path.absolute()} is no UTF-8 text", type="script") from error
