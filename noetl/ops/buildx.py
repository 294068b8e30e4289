"""Builds with `docker buildx`, where it is there: side by side, and only the stages that are needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol


class Wanted(Protocol):
    """What a builder is asked for."""

    @property
    def folder(self) -> Path:
        """The build's context."""

    @property
    def tag(self) -> str:
        """The image's whole name."""

    @property
    def platform(self) -> str:
        """The platform to build for."""

    @property
    def no_cache(self) -> bool:
        """Whether every step runs again."""

    @property
    def network(self) -> str:
        """The network of the steps; empty for the engine's default."""

    @property
    def build_args(self) -> Mapping[str, str]:
        """The build arguments."""


def is_there() -> bool:
    """Tell whether `docker buildx` can be run."""
    try:
        return subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def command(wanted: Wanted, dockerfile: str) -> list[str]:
    """Return the command; values of build arguments travel in its environment, as they may be secret."""
    words = ["docker", "buildx", "build", "--progress=plain", "--load", "--platform", wanted.platform, "--tag", wanted.tag]
    words += ["--no-cache"] if wanted.no_cache else []
    words += ["--network", wanted.network] if wanted.network else []
    for name in sorted(wanted.build_args):
        words += ["--build-arg", name]
    return [*words, "--file", str(wanted.folder / dockerfile), str(wanted.folder)]


def lines(wanted: Wanted, dockerfile: str = "docker/Dockerfile") -> Iterator[str]:
    """Build and yield the builder's lines; one that begins with ERROR: is why it failed."""
    process = subprocess.Popen(
        command(wanted, dockerfile),
        env={**os.environ, **wanted.build_args, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    failed, last = False, ""
    try:
        for line in process.stdout:
            failed, last = failed or line.startswith("ERROR: "), line.strip() or last
            yield line.rstrip("\r\n")
        if process.wait() and not failed:
            yield f"ERROR: {last or 'it said nothing'} (docker buildx: exit code {process.returncode})"
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()
