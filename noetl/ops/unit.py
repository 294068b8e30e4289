"""noetl as a systemd service of this user: the unit's text, its environment, where both go."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noetl import home as files
from noetl.errors import NoetlError, UsageError
from noetl.settings import Settings

WHAT = ("stack", "server", "worker")
_OURS = ("NOETL_", "POSTGRES_", "PLAYBOOKS_POSTGRES_", "NATS_")
_TEXT = """\
[Unit]
Description=NoETL {what} of {home}
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={command}
WorkingDirectory={folder}
EnvironmentFile={environment}
Restart=on-failure
RestartSec=5
KillMode=mixed
TimeoutStopSec=60

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True)
class Unit:
    """A unit that is to be: its name, its text, and the environment file that it names, which may have secrets in it."""

    name: str
    text: str
    environment_file: Path
    environment: str


def plan(settings: Settings, environ: Mapping[str, str], what: str = "stack", *, workers: int = 1, name: str = "") -> Unit:
    """Return the unit of the whole stack of this home, of its server, or of a worker."""
    if what not in WHAT:
        raise UsageError(f"{what!r} is no service", "--only server, or --only worker; without it: the whole stack")
    words = {
        "stack": ["up", "--foreground", "--workers", str(workers)],
        "server": ["server", "start", "--init-db", "--foreground"],
        "worker": ["worker", "start", "--foreground", "--name", name or "worker-1"],
    }[what]
    called = {"stack": "noetl", "server": "noetl-server", "worker": f"noetl-worker-{name or 'worker-1'}"}[what]
    environment_file = settings.home / f"{called}.env"
    text = _TEXT.format(
        what=what,
        home=_plain(str(settings.home)),
        command=" ".join(_word(word) for word in [*command(settings.home), *words]),
        folder=_plain(str(settings.home)),
        environment=_plain(str(environment_file)),
    )
    return Unit(called, text, environment_file, environment(settings, environ))


def command(home: Path) -> list[str]:
    """Return how noetl is called: by the link to the release in use, where it is one, so that another release is taken over."""
    if Path(sys.prefix).parent == home / "releases" and (home / "current").exists():
        return [str(home / "current" / "bin" / "noetl")]
    beside = Path(sys.executable).parent / "noetl"
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "noetl.cli"]


def environment(settings: Settings, environ: Mapping[str, str]) -> str:
    """Return the environment file's text: PATH, and what noetl and its playbooks are told here."""
    named = {one.strip() for one in environ.get("NOETL_PLAYBOOK_ENV", "").split(",")}
    kept = {name: value for name, value in environ.items() if name.startswith(_OURS) or name in named or name == "PATH"}
    kept["NOETL_HOME"] = str(settings.home)
    if broken := sorted(name for name, value in kept.items() if "\n" in value):
        raise UsageError(f"{broken[0]} has more than one line, which no environment file of systemd carries", f"unset {broken[0]}")
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`") for name, value in kept.items()
    }
    return "".join(f'{name}="{value}"\n' for name, value in sorted(escaped.items()))


def install(unit: Unit, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Write the unit and its environment file; return where the unit is, and whether anything changed."""
    refuse_without_systemd()
    folder = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
    path = folder / f"{unit.name}.service"
    same = _read(path) == unit.text and _read(unit.environment_file) == unit.environment
    files.write_private(unit.environment_file, unit.environment)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(unit.text)
    return path, not same


def refuse_without_systemd() -> None:
    """Say what to do instead where systemd does not run."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        raise NoetlError(
            "systemd does not run on this machine",
            "for another supervisor: noetl up --foreground; the unit for elsewhere: noetl service install --print",
        )


def reload() -> str:
    """Let the user's systemd read its units anew; return why it did not, empty if it did."""
    done = subprocess.run(["systemctl", "--user", "daemon-reload"], capture_output=True, text=True, check=False)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""


def next_lines(unit: Unit) -> str:
    """Return what to type to start it now, at each login, and at boot."""
    return f"systemctl --user enable --now {unit.name}\nloginctl enable-linger {getpass.getuser()}"


def _plain(text: str) -> str:
    """Write text so that systemd takes none of it for a specifier."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    text = _plain(text).replace("$", "$$")
    return text if re.fullmatch(r"[\w@%+=:,./$-]+", text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
