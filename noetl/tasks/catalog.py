"""The catalog of playbooks."""

from __future__ import annotations

from invoke.context import Context

from noetl.tasks.flags import JSON
from noetl.tasks.verb import note_warnings, read_settings, say, verb


@verb(positional=["file"], help={**JSON, "file": "the playbook's YAML file"})
def register(_context: Context, file: str, json: bool = False) -> None:
    """Register a playbook; a changed text is a new version."""
    from noetl.ops import answers, run
    from noetl.ops.client import connect

    text, playbook = run.read_playbook(file)
    note_warnings(file, playbook.warnings)
    entry = run.register(connect(read_settings()), text)
    say(answers.as_json(entry) if json else f"{entry['path']} version {entry['version']}: {entry['message']}")


@verb(name="list", help={**JSON, "path-prefix": "only paths that begin with this", "limit": "how many at most (default 100)"})
def list_(_context: Context, path_prefix: str = "", limit: int = 100, json: bool = False) -> None:
    """List the playbooks of the catalog."""
    from noetl.ops import answers, tables
    from noetl.ops.client import connect

    found = connect(read_settings()).get("/api/catalog", path_prefix=path_prefix or None, limit=limit)
    say(answers.as_json(found) if json else tables.table(found["entries"], ("path", "version", "kind", "name", "created_at")))


@verb(positional=["path"], help={**JSON, "path": "the playbook's path in the catalog", "version": "which version (default: the newest)"})
def get(_context: Context, path: str, version: int = 0, json: bool = False) -> None:
    """Print a playbook of the catalog."""
    from noetl.ops import answers
    from noetl.ops.client import connect

    entry = connect(read_settings()).get("/api/catalog/entry", path=path, version=version or None)
    say(answers.as_json(entry) if json else str(entry["content"]).rstrip("\n"))


@verb(positional=["file"], help={"file": "the playbook's YAML file"})
def validate(_context: Context, file: str) -> None:
    """Check a playbook without a server.

    Exit code 2, with every problem's line and column, if it is broken.
    """
    from noetl.ops import run

    _, playbook = run.read_playbook(file)
    note_warnings(file, playbook.warnings)
    say(f"{file}: no problem found")
