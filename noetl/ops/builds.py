"""The builds of a checkout: a line each in .noetl/builds.jsonl, the last one's tag in .noetl_last_build_tag.txt."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from noetl.ops import project_folder

_RECORDS = project_folder.NAME / "builds.jsonl"
_LAST = Path(".noetl_last_build_tag.txt")


@dataclass(frozen=True)
class Build:
    """An image that was built: `tag` is its whole name, `image_id` the engine's id, `digest` the registry's once it is there."""

    tag: str
    image_id: str
    platform: str
    commit: str
    time: str
    version: str
    builder: str
    digest: str | None = None
    size: int = 0

    @property
    def repository(self) -> str:
        """Return the name without its tag; a port of its registry stays."""
        return self.tag.rpartition(":")[0] if ":" in self.tag.rpartition("/")[2] else self.tag

    @property
    def reference(self) -> str:
        """Return the name that always means this very image: by digest where a registry has it, else by its tag."""
        return f"{self.repository}@{self.digest}" if self.digest else self.tag


def record(folder: Path, build: Build) -> None:
    """Write down a build as the last one."""
    project_folder.make(folder)
    with (folder / _RECORDS).open("a") as file:
        file.write(json.dumps(asdict(build)) + "\n")
    (folder / _LAST).write_text(f"{build.tag}\n")


def last_build(folder: Path) -> Build | None:
    """Return the last build of a checkout, if there was one."""
    try:
        lines = (folder / _RECORDS).read_text().splitlines()
    except FileNotFoundError:
        return None
    known = {one.name for one in fields(Build)}
    for line in reversed(lines):
        try:
            document = json.loads(line)
            return Build(**{name: value for name, value in document.items() if name in known})
        except (ValueError, TypeError, AttributeError):  # half a line, of a build that was killed
            continue
    return None
