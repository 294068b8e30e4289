"""What `host.install` sends to hosts: noetl's wheel, and a wheelhouse of all that it needs."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noetl
from noetl.errors import NoetlError, UsageError
from noetl.ops.hosts import Host

_PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
_OLDEST = "import sys; sys.exit(sys.version_info < (3, 11))"
_LOOP = (
    'for p in {pythons}; do if "$p" -c {oldest} 2>/dev/null; then exec "$p" -c "$0" "$@"; fi; done; '
    'echo "error: no Python 3.11 or newer here" >&2; exit 1'
)
_UNWANTED = (".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "benchmarks", "docs")


@dataclass(frozen=True)
class Wheel:
    """A wheel of noetl: its file, version and content's hash."""

    file: Path
    version: str
    sha256: str


def command(host: Host, words: Sequence[str]) -> str:
    """Return the shell command that runs `on_host` on a host which has Python and nothing else."""
    pythons = " ".join(shlex.quote(one) for one in ([host.python] if host.python else _PYTHONS))
    loop = _LOOP.format(pythons=pythons, oldest=shlex.quote(_OLDEST))
    script = (Path(__file__).parent / "on_host.py").read_text()
    return shlex.join(["sh", "-c", loop, script, *words])


def wheel(version: str, wheelhouse: str, into: Path) -> Wheel:
    """Return noetl's wheel of a version: out of the wheelhouse, built here where this is that version's checkout, else from the index."""
    wanted = version or noetl.__version__
    if wheelhouse:
        if found := sorted(Path(wheelhouse).glob(f"noetl-{wanted}-*.whl")):
            return _described(found[-1])
        if not Path(wheelhouse).is_dir():
            raise UsageError(f"{wheelhouse} is no folder", "make one for the hosts: inv -H … host.bundle --output wheelhouse")
    checkout = Path(noetl.__file__).parent.parent
    if wanted == noetl.__version__ and (checkout / "pyproject.toml").is_file():
        return _described(_build(checkout, into))
    _pip("download", "--no-deps", "--dest", str(into), f"noetl=={wanted}")
    return _described(next(into.glob("noetl-*.whl")))


def bundle(one: Wheel, places: Sequence[Mapping[str, Any]], into: Path) -> list[Path]:
    """Fill a folder with noetl's wheel and all that it needs on these platforms, and pip; return its wheels."""
    into.mkdir(parents=True, exist_ok=True)
    if one.file.parent != into:
        shutil.copy2(one.file, into)
    for flags in dict.fromkeys(tuple(_platform(place)) for place in places):
        _pip("download", "--dest", str(into), "--only-binary=:all:", *flags, str(one.file), "pip")
    return sorted(into.glob("*.whl"))


def _platform(place: Mapping[str, Any]) -> list[str]:
    """Return pip's flags for a host: its Python, and every tag of its C library's age and older."""
    major, minor = str(place["python"]).split(".")[:2]
    library, number = place["libc"]
    machine = place["machine"]
    if library != "glibc":
        raise NoetlError(
            f"wheels cannot be chosen for {library or 'this C library'} from here", "make the wheelhouse on such a host: pip wheel"
        )
    newest = int(str(number).split(".")[1])
    tags = [f"manylinux_2_{one}_{machine}" for one in range(newest, 16, -1)]
    tags += [f"manylinux2014_{machine}", f"linux_{machine}", "any"]
    flags = [word for tag in tags for word in ("--platform", tag)]
    abis = [word for abi in (f"cp{major}{minor}", "abi3", "none") for word in ("--abi", abi)]
    return [*flags, *abis, "--python-version", f"{major}.{minor}", "--implementation", "cp"]


def _build(checkout: Path, into: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix="noetl-wheel-") as folder:
        source = Path(folder) / "source"
        shutil.copytree(checkout, source, ignore=shutil.ignore_patterns(*_UNWANTED))
        # Only where it is not here, pip has to fetch one.
        isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
        _pip("wheel", "--no-deps", *isolation, "--wheel-dir", str(into), str(source))
    return next(into.glob(f"noetl-{noetl.__version__}-*.whl"))


def _described(file: Path) -> Wheel:
    return Wheel(file, file.name.split("-")[1], hashlib.sha256(file.read_bytes()).hexdigest())


def _pip(*words: str) -> None:
    # With one date for all files, the same content is the same wheel.
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "946684800"}
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-3:]
        raise NoetlError(f"pip {words[0]} failed: {' '.join(told)}", "see what pip says: python -m pip " + " ".join(words[:2]))
