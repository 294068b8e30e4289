"""What a tool has started outside of its process: noted, so that it is removed also when the process is killed before it comes to that."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_NAME = "leftover.json"
_REMOVERS = {
    "docker": "noetl.tools.container_docker",
    "kubernetes": "noetl.tools.container_kubernetes",
}
"""Modules with a `remove(note)`, by the `where` of a note."""
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def noted(workdir: Path, note: Mapping[str, str]) -> Iterator[None]:
    """Keep a note (`where`, and what its remover needs) in the folder of a call while something outside exists."""
    workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = workdir / _NAME
    path.write_text(json.dumps(dict(note)), encoding="utf-8")
    yield
    path.unlink(missing_ok=True)


def notes(folders: Iterable[Path]) -> list[str]:
    """Return the notes that calls have left in their folders."""
    found: list[str] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found.append((folder / _NAME).read_text(encoding="utf-8"))
    return found


def removing(found: list[str], environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process that removes what notes name; it needs nobody to live on."""
    return subprocess.Popen(
        [sys.executable, "-m", "noetl.tools.leftovers", *found],
        env=None if environ is None else dict(environ),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> int:
    """Remove what the notes in the arguments name; 1 if any of it could not be."""
    failed = False
    for text in sys.argv[1:]:
        note = json.loads(text)
        try:
            importlib.import_module(_REMOVERS[note["where"]]).remove(note)
        except Exception:
            failed = True
            _log.exception("what a step left behind is not removed: %s", text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
