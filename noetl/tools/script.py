"""Code that a step names instead of holding it: its `script` field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from noetl.playbook.duration import seconds
from noetl.tools import gcs_object, s3
from noetl.tools.access import access_of
from noetl.tools.base import Json, ToolError
from noetl.tools.exchange import send_and_wait
from noetl.tools.request import Find, Request, authorized, build

_LARGEST = 16 * 1024**2
_TIMEOUT = 30.0


def load(script: Json, find: Find, secrets: set[str]) -> str:
    """Return the text of a script from where its `source` says: a file, an address, or the playbook itself."""
    if not isinstance(script, Mapping):
        raise ToolError("script is a mapping: script: {uri: ./job.py, source: {type: file}}", type="config")
    source = script.get("source") or {}
    if not isinstance(source, Mapping):
        source = {"type": source}
    kind = str(source.get("type") or "file")
    if kind not in _SOURCES:
        raise ToolError(f"script has the source {kind!r}; there is {', '.join(_SOURCES)}", type="config")
    return _SOURCES[kind](script.get("uri"), source, find, secrets)


def _of_file(uri: Json, _source: Mapping[str, Json], _find: Find, _secrets: set[str]) -> str:
    """Read a file; a relative path is below the folder in which the worker was started."""
    if not isinstance(uri, str) or not uri:
        raise ToolError("script needs a uri, the path of a file: script: {uri: ./job.py, source: {type: file}}", type="config")
    path = Path(uri.removeprefix("file://"))
    try:
        if path.stat().st_size > _LARGEST:
            raise ToolError(f"the script {path} is larger than {_LARGEST // 1024**2} MiB", type="config")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        hint = f"put it there, on the worker's machine, or correct `uri`: a relative path is below {Path.cwd()}"
        raise ToolError(f"the script {path.absolute()} cannot be read: {error.strerror}", hint, type="script") from error
    except UnicodeDecodeError as error:
        raise ToolError(f"the script {path.absolute()} is no UTF-8 text", type="script") from error


def _of_http(uri: Json, source: Mapping[str, Json], find: Find, secrets: set[str]) -> str:
    """Fetch it from `endpoint`, or else from `uri`; an endpoint that ends in a slash has `uri` below it."""
    endpoint = str(source.get("endpoint") or "")
    url = f"{endpoint}{str(uri).lstrip('/')}" if endpoint.endswith("/") and uri else endpoint or uri
    return _fetched(authorized(build({**source, "url": url}), source, find, secrets), source)


def _of_s3(uri: Json, source: Mapping[str, Json], find: Find, secrets: set[str]) -> str:
    return _fetched(s3.get(str(uri or ""), access_of(source, find, secrets)), source)


def _of_gcs(uri: Json, source: Mapping[str, Json], find: Find, secrets: set[str]) -> str:
    return _fetched(gcs_object.get(str(uri or ""), access_of(source, find, secrets)), source)


def _fetched(request: Request, source: Mapping[str, Json]) -> str:
    data = send_and_wait(request, seconds(source.get("timeout")) or _TIMEOUT)["data"]
    if not isinstance(data, str):
        raise ToolError(f"{request.place} answered with JSON, which is no script", type="script")
    if len(data) > _LARGEST:
        raise ToolError(f"the script at {request.place} is larger than {_LARGEST // 1024**2} MiB", type="config")
    return data


def _of_playbook(_uri: Json, source: Mapping[str, Json], _find: Find, _secrets: set[str]) -> str:
    code: Any = source.get("code")
    if not isinstance(code, str) or not code.strip():
        raise ToolError("a script of the source inline needs code: source: {type: inline, code: ...}", type="config")
    return code


_SOURCES: Mapping[str, Callable[[Json, Mapping[str, Json], Find, set[str]], str]] = {
    "file": _of_file,
    "http": _of_http,
    "inline": _of_playbook,
    "s3": _of_s3,
    "gcs": _of_gcs,
}
