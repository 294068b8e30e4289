"""The workers of this machine, replaced one after another by this version: drain, start, wait for its hello, next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import noetl
from noetl import home as files
from noetl.errors import NoetlError
from noetl.ops import worker
from noetl.ops.client import connect
from noetl.ops.process import Progress, quiet
from noetl.ops.server import Start
from noetl.settings import Settings

TIMEOUT = 300.0


def roll(settings: Settings, *, timeout: float = TIMEOUT, force: bool = False, progress: Progress = quiet) -> list[Start]:
    """Replace each worker that runs here, and those that an earlier roll stopped and did not bring back; the first failure ends it."""
    plan = _plan(settings)
    rolled = []
    for name in list(plan):
        if worker.find(settings.home, name) is not None:
            worker.stop(settings, [name], timeout=timeout, force=force, progress=progress)
        how = plan[name]
        (start,) = worker.start(settings, name=name, pool=how["pool"], max_workers=how["slots"], progress=progress)
        _check(settings, start)
        rolled.append(start)
        del plan[name]
        _write(settings.home, plan)
    return rolled


def _plan(settings: Settings) -> dict[str, dict[str, Any]]:
    """Write down which workers have to run in the end, before the first of them is stopped."""
    plan = _read(settings.home)
    heard = {one.get("pid"): one for one in worker.known(connect(settings)) if worker.is_here(one)}
    for entry in worker.running(settings.home):
        name = worker.name_of(entry)
        note = {**files.read_note(settings.home / f"worker-{name}.lock"), **heard.get(entry.pid, {})}
        plan[name] = {"pool": note.get("pool") or worker.POOL, "slots": note.get("slots")}
    _write(settings.home, plan)
    return plan


def _check(settings: Settings, start: Start) -> None:
    heard = [one for one in worker.known(connect(settings)) if worker.is_here(one)]
    said = [one.get("version") for one in heard if one.get("pid") == start.record.pid]
    if noetl.__version__ not in said:
        message = f"{start.record.title} came back as version {', '.join(map(str, said)) or 'unknown'}, not {noetl.__version__}"
        raise NoetlError(message, "see: noetl worker list")


def _read(home: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(_file(home).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(home: Path, plan: dict[str, dict[str, Any]]) -> None:
    if plan:
        files.write_private(_file(home), json.dumps(plan))
    else:
        _file(home).unlink(missing_ok=True)


def _file(home: Path) -> Path:
    return home / "rolling.json"
