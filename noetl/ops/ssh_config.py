"""The text of ssh_config with the files that it includes, which Paramiko does not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_INCLUDE = re.compile(r"^\s*include\s+(.+)$", re.IGNORECASE)
_BLOCK = re.compile(r"^\s*(host|match)\s", re.IGNORECASE)


def text(start: Path | None = None) -> str:
    """Return the text of the user's ssh_config and the system's, with what they include in its place."""
    chosen = [start] if start else [Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")]
    # A file's first lines belong to every host, whatever block the one before it ended with.
    return "\n".join(line for path in chosen for line in ["Host *", *_expanded(path, "Host *", 0)])


def _expanded(path: Path, block: str, depth: int) -> Iterator[str]:
    if depth > 16 or not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        if included := _INCLUDE.match(line):
            for pattern in included.group(1).replace('"', "").split():
                absolute = Path(pattern).expanduser()
                base = absolute if absolute.is_absolute() else path.parent / pattern
                for found in sorted(base.parent.glob(base.name)):
                    yield from _expanded(found, block, depth + 1)
            yield block
            continue
        if _BLOCK.match(line):
            block = line
        yield line
