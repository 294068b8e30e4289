"""What `doctor` looks at on this machine: versions, NOETL_HOME, the disk, PID files, the port."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import noetl
from noetl.ops import ports, server, services, tables
from noetl.ops.finding import BAD, NOTE, OK, WARN, Finding
from noetl.settings import Settings

PRIVATE = ("token", "embedded.json", "encryption_key", "postgres.password", "nats.conf")
LITTLE_ROOM = 2 * 1024**3
NO_ROOM = 512 * 1024**2
BETTER = (
    "make the environment with the distribution's python3, or build this one anew, with pyenv by\n"
    f"PYTHON_CONFIGURE_OPTS='--enable-optimizations --with-lto' pyenv install --force {platform.python_version()}"
)


def versions(_settings: Settings) -> list[Finding]:
    """Name this noetl and the Python that runs it."""
    where = f"Python {platform.python_version()} ({sys.executable}), {platform.system()} {platform.machine()}"
    found = [Finding("noetl", OK, f"{noetl.__version__}, {where}")]
    if is_plain_build(sysconfig.get_config_vars()):
        text = "this Python was built without --enable-optimizations: steps take a fifth longer with it (docs/performance.md)"
        found.append(Finding("python", NOTE, text, BETTER))
    return found


def is_plain_build(configured: Mapping[str, Any]) -> bool:
    """Tell from what `sysconfig` says whether a Python was built without a profile to optimize by.

    Debian gives the argument to nobody and builds with one all the same; it leaves the flag empty.
    """
    return "--enable-optimizations" not in str(configured.get("CONFIG_ARGS")) and bool(configured.get("PGO_PROF_USE_FLAG"))


def home(settings: Settings) -> list[Finding]:
    """Look at the rights of NOETL_HOME and of the secrets in it."""
    folder = settings.home
    if not folder.exists():
        above = next(path for path in folder.parents if path.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            return [Finding("home", BAD, f"{folder} cannot be made: {above} is not writable", "set NOETL_HOME to a folder of yours")]
        return [Finding("home", NOTE, f"{folder} is not there yet", "the first start makes it: noetl up")]
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return [Finding("home", BAD, f"{folder} is not writable", f"sudo chown -R {os.getuid()} {folder}, or set NOETL_HOME")]
    if folder.stat().st_mode & stat.S_IWOTH:
        return [Finding("home", BAD, f"anybody may write to {folder}", f"chmod o-w {folder}")]
    if shown := [str(path) for path in map(folder.joinpath, PRIVATE) if _is_shown(path)]:
        return [Finding("home", BAD, f"others may read {', '.join(shown)}", f"chmod 600 {' '.join(shown)}")]
    return [Finding("home", OK, str(folder))]


def disk(settings: Settings) -> list[Finding]:
    """Look at the room that is left where NOETL_HOME is."""
    there = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{tables.size(free)} free at {there}"
    if free >= LITTLE_ROOM:
        return [Finding("disk", OK, text)]
    return [Finding("disk", BAD if free < NO_ROOM else WARN, text, f"make room: du -xsh {there}/*, df -h {there}")]


def pid_files(settings: Settings) -> list[Finding]:
    """Look for PID files whose process is gone, and for their strangers."""
    stale = services.stale(settings.home)
    if not stale:
        return []
    names = ", ".join(path.name for path in stale)
    return [Finding("pid files", NOTE, f"of processes that are gone: {names}", "remove them: noetl ps")]


def port(settings: Settings) -> list[Finding]:
    """Look whether the server could listen, or does."""
    where = f"{settings.host}:{settings.port}"
    if here := server.meant(settings):
        return [Finding("port", OK, f"{settings.host}:{here.port} is held by this home's server, pid {here.pid}")]
    if settings.server_url:
        return []
    if refusal := ports.refusal(settings.host, settings.port):
        return [Finding("port", BAD, refusal, "set NOETL_HOST and NOETL_PORT to where the server can listen")]
    if not ports.is_free(settings.host, settings.port):
        holder = ports.holder(settings.port)
        return [Finding("port", BAD, f"{where} is taken by {holder}", f"end it, or {server.another_port(settings)}")]
    return [Finding("port", OK, f"{where} is free")]


def _is_shown(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False
