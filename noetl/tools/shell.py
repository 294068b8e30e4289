"""The `shell` tool: commands, each with `sh -c`, in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from noetl.tools.base import Call, Json, ToolError

_KEPT = 1024 * 1024
_SHOWN_LINES = 10


def run(call: Call) -> Json:
    """Run the commands in their order, stopping at the first that fails; return exit code, standard output and error."""
    call.workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = _folder(call)
    environment = {**os.environ, **_environment(call.config.get("env"))}
    with tempfile.TemporaryFile(dir=call.workdir) as stdout, tempfile.TemporaryFile(dir=call.workdir) as stderr:
        for command in call.config["code"]:
            if "\0" in command:
                raise ToolError("the command has a NUL character, which no program can be given", type="value")
            code = _run_one(command, folder, environment, stdout, stderr)
            if code:
                errors = _tail(stderr)
                result = {"exit_code": code, "stdout": _tail(stdout), "stderr": errors}
                raise ToolError(_message(command, code, errors), _mend(code, errors), type="exit_code", result=result)
        return {"exit_code": 0, "stdout": _tail(stdout), "stderr": _tail(stderr)}


def _run_one(command: str, folder: Path, environment: Mapping[str, str], stdout: BinaryIO, stderr: BinaryIO) -> int:
    process = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False
    )
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _folder(call: Call) -> Path:
    written = call.config.get("cwd")
    folder = Path(str(written)).expanduser() if written else call.workdir
    if not folder.is_dir():
        raise ToolError(f"cwd is {folder}, which is no folder", "make it on the worker's machine, or correct `cwd`", type="config")
    return folder


def _environment(written: Json) -> dict[str, str]:
    if not written:
        return {}
    if not isinstance(written, Mapping):
        raise ToolError("env is a mapping of names to values", type="config")
    return {str(name): _text(value) for name, value in written.items() if value is not None}


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _tail(file: BinaryIO) -> str:
    """Return what was written, its end if it is long."""
    size = os.fstat(file.fileno()).st_size
    left_out = max(0, size - _KEPT)
    text = os.pread(file.fileno(), _KEPT, left_out).decode("utf-8", "replace").replace("\0", "\ufffd")
    return f"[{left_out} bytes left out]\n{text}" if left_out else text


def _mend(code: int, stderr: str) -> str:
    """Say what to do about an exit code, where that is known."""
    match code:
        case 126:
            return "let it be executable: chmod +x FILE; or run it by its interpreter: sh FILE"
        case 127:
            return f"install it on the worker's machine, or write its whole path; the PATH there is {os.environ.get('PATH', 'empty')}"
        case 137:
            return "it was killed, perhaps because the machine ran out of memory"
    if "No such file or directory" in stderr:
        return "write whole paths: without `cwd`, commands run in a new, empty folder of their own, on the worker's machine"
    return ""


def _message(command: str, code: int, stderr: str) -> str:
    shown = " ".join(command.split())
    shown = shown if len(shown) <= 120 else f"{shown[:117]}..."
    last = "\n".join(stderr.strip().splitlines()[-_SHOWN_LINES:])
    what = f"exit code {code} from: {shown}"
    return f"{what}\n{last}" if last else what
