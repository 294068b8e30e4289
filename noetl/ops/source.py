"""What a checkout is at this moment: its version, its commit, and what differs from that; together the tag of its image."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import noetl
from noetl.errors import UsageError

_NOTHING = ""


@dataclass(frozen=True)
class Source:
    """A checkout's content: `commit` and `time` (ISO 8601) are git's, `difference` is a hash of what is not committed."""

    version: str
    commit: str
    difference: str
    time: str

    @property
    def tag(self) -> str:
        """Return the tag: the same content has the same one, and no other content has it."""
        dirty = f"-dirty.{self.difference[:8]}" if self.difference else ""
        return f"{self.version}-{self.commit[:10]}{dirty}".replace("+", "_")


def read(folder: Path) -> Source:
    """Read what a checkout is."""
    if not (folder / "docker" / "Dockerfile").is_file():
        raise UsageError(f"{folder} has no docker/Dockerfile", "images are built in a checkout of noetl: git clone it and go there")
    commit, _, time = _git(folder, "log", "-1", "--format=%H %cI").strip().partition(" ")
    return Source(noetl.__version__, commit, _difference(folder), time)


def tag_of(folder: Path) -> str:
    """Return the tag that an image built from a checkout now would have."""
    return read(folder).tag


def _difference(folder: Path) -> str:
    """Return a hash of what is not committed, ignored files apart; empty where all is."""
    changed = _git(folder, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
    new = [name for name in _git(folder, "ls-files", "--others", "--exclude-standard", "-z").split("\0") if name]
    if not changed and not new:
        return _NOTHING
    digest = hashlib.sha256(changed.encode(errors="surrogateescape"))
    for name in sorted(new):
        path = folder / name
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        digest.update(b"\0".join([name.encode(errors="surrogateescape"), hashlib.sha256(content).digest(), b"x" if _runs(path) else b"-"]))
    return digest.hexdigest()


def _runs(path: Path) -> bool:
    return bool(path.lstat().st_mode & 0o100)


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("git is not installed: an image's tag is its commit", "apt-get install git") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"git cannot tell which commit {folder} is: {said[-1] if said else words[0]}", f"see: git -C {folder} status")
    return done.stdout.decode(errors="surrogateescape")
