"""What a container is to run, as a playbook says it: the same for every place that runs containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from noetl.tools.base import Call, Json, ToolError

FILES = "/noetl"
"""The folder in which a container finds the files that it is given."""
KEPT = 512 * 1024
"""Bytes of output that a result keeps."""
SHOWN_LINES = 10
PULLS = ("missing", "always", "never")
_PULLS = {"": "missing", "ifnotpresent": "missing", "if_not_present": "missing", **{name: name for name in PULLS}}
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?)b?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Spec:
    """A container: `command` takes the place of the image's entrypoint, `args` that of its command."""

    image: str
    command: list[str]
    args: list[str]
    env: dict[str, str] = field(repr=False)
    workdir: str
    memory: int
    """In bytes; 0 for no limit."""
    cpu: float
    pull: str
    runtime: Mapping[str, Json]
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Files that the container finds in its folder for them, by name."""


class Provider(Protocol):
    """Runs containers."""

    def run(self, spec: Spec, call: Call) -> Json:
        """Run one to its end; return `{exit_code, stdout, stderr, …}`, or raise for an end that is no success."""


def spec_of(call: Call, runtime: Mapping[str, Json]) -> Spec:
    """Return what a config describes."""
    image = str(runtime.get("image") or "").strip()
    if not image:
        raise ToolError("runtime has no image: runtime: {image: NAME:TAG, command: [...]}", type="config")
    pull = str(runtime.get("pull") or "").strip().lower()
    if pull not in _PULLS:
        raise ToolError(f"pull is {pull!r}; it is {', '.join(PULLS)}", type="config")
    return Spec(
        image=image,
        command=_words("command", runtime.get("command")),
        args=_words("args", runtime.get("args"), shell=False),
        env={**_env(runtime.get("env")), **_env(call.config.get("env")), **_identity(call)},
        workdir=str(runtime.get("workdir") or ""),
        memory=_bytes(runtime.get("memory")),
        cpu=_cpu(runtime.get("cpu")),
        pull=_PULLS[pull],
        runtime=runtime,
    )


def finished(spec: Spec, result: dict[str, Json], reason: str = "") -> dict[str, Json]:
    """Return the result of a container that ended well; ToolError with its last lines for any other."""
    code = result["exit_code"]
    if not code and not reason:
        return {"status": "success", **result}
    lines = (str(result.get("stderr") or "").strip() or str(result.get("stdout") or "").strip()).splitlines()[-SHOWN_LINES:]
    what = f"{reason or f'exit code {code}'} from a container of {spec.image}"
    raise ToolError("\n".join([what, *lines]), type="exit_code" if code is not None else "container", result=result)


def tail(output: bytes) -> str:
    """Return the end of an output as text that a result can hold, and say whether there was more ahead of it."""
    text = output[-KEPT:].decode("utf-8", "replace").replace("\0", "\ufffd")
    return f"[the beginning is left out]\n{text}" if len(output) > KEPT else text


def _identity(call: Call) -> dict[str, str]:
    return {"NOETL_EXECUTION_ID": call.execution_id, "NOETL_STEP": call.step, "NOETL_IDEMPOTENCY_KEY": call.idempotency_key}


def _words(name: str, written: Json, *, shell: bool = True) -> list[str]:
    if written in (None, "", []):
        return []
    if isinstance(written, str):
        return ["/bin/sh", "-c", written] if shell else [written]
    if not isinstance(written, list):
        raise ToolError(f"{name} of a container is a {type(written).__name__}; it is text or a list of words", type="config")
    return [_text(word) for word in written]


def _env(written: Json) -> dict[str, str]:
    if isinstance(written, list):
        written = {str(item.get("name")): item.get("value") for item in written if isinstance(item, Mapping)}
    if written in (None, ""):
        return {}
    if not isinstance(written, Mapping):
        raise ToolError("env of a container is a mapping of names to values", type="config")
    return {str(name): _text(value) for name, value in written.items() if value is not None}


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _bytes(written: Json) -> int:
    if written in (None, "", 0):
        return 0
    match = _SIZE.match(str(written).strip())
    if match is None:
        raise ToolError(f"memory is {written!r}; write 512Mi or 2Gi", type="config")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _cpu(written: Json) -> float:
    if written in (None, "", 0):
        return 0.0
    text = str(written).strip()
    try:
        value = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 10**6:
        raise ToolError(f"cpu is {written!r}; write 0.5 or 500m", type="config")
    return value
